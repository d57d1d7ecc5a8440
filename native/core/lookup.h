// Products with weights of ±1 and 0, by table lookup. A weight byte stands for a group of columns (8 binary
// or 5 ternary weights). For the current input, the table of a group holds, for each value of the byte, the
// sum of codes that these weights make. Building a table takes one addition for every entry or two; after
// that, every row of every matrix that reads this input takes one lookup for each group.
//
// lookup.c is for every processor; <architecture>/lookup.S replaces it on one, and may order the entries of a
// table in its own way.
#ifndef BITNET_LOOKUP_H
#define BITNET_LOOKUP_H

#include "core.h"

// Narrow tables are faster only where the loops that use them are in assembly.
#ifndef BN_NARROW
#ifdef __ARM_ARCH_6M__
#define BN_NARROW 1
#else
#define BN_NARROW 0
#endif
#endif

enum {
    // A table for one token has a u16 for each value of the byte: the sum plus this bias. Since |sum| <=
    // 127·8, no entry is negative, so two can be computed in one word.
    BN_TABLE_BIAS = 1024,
    // A table for a pair of tokens has a word for each value: the first token's sum plus 2^16 times the
    // second's. Words can be added up and taken apart again as long as the first sum fits 16 bits, thus over
    // this many groups.
    BN_PAIR_GROUPS = 32,
    // A narrow table, for one token, has a u8 for each value: the sum plus BN_NARROW_BIAS. It takes half the
    // time to build, and can be used for a group of codes whose sizes, |code|, add up to at most
    // BN_NARROW_SUM. Eight codes of BN_NARROW_BITS always do.
    BN_NARROW_SUM = 127,
    BN_NARROW_BITS = 4,
    BN_NARROW_BIAS = 128,
    BN_NARROW_AT_ONCE = 2 * BN_TABLES_AT_ONCE,
    // As bn_stretch_t.start: sums do not begin with a number, but with what `out` holds already.
    BN_FROM_OUT = 1,
};

// A stretch of successive groups, which have tables at the same time.
typedef struct {
    const uint32_t *tables; // [groups][BN_TABLE_SIZE] of u16; of u32 for a pair of tokens, of u8 if narrow
    uint32_t groups;        // at most BN_TABLES_AT_ONCE, BN_PAIR_TABLES_AT_ONCE or BN_NARROW_AT_ONCE
    uint32_t skip; // bytes of weights from the end of the stretch in one block to its start in the next
    int32_t start; // what the sums begin with, or BN_FROM_OUT
} bn_stretch_t;

// Sets the stretch to as many groups as can have tables at once, from `group` on but not beyond `end`. A row
// has `groups` groups in all.
static inline void bn_set_stretch(
    bn_stretch_t *stretch, uint32_t group, uint32_t end, uint32_t at_once, uint32_t groups) {
    stretch->groups = BN_MIN(end - group, at_once);
    stretch->skip = 4 * (groups - stretch->groups);
}

// The first group whose Σ|code| may exceed BN_NARROW_SUM; `groups` if there is none.
uint32_t bn_first_wide(const int8_t *codes, uint32_t groups);

// Build the tables of `groups` groups. Codes are int8[groups·8] for binary weights, at a multiple of 4, and
// int8[groups·5] for ternary ones.
void bn_build_binary(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_ternary(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_narrow(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_binary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups);
void bn_build_ternary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups);

// out[4·blocks] = start (or out, see BN_FROM_OUT) plus the entries that the weights select. `weights` are
// those of the stretch in the first block.
void bn_add_rows(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);
void bn_add_rows_narrow(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);
void bn_add_rows_pair(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);

// Adds the product of one column with `code`: out[4·blocks] is increased by it where bit `column` of the
// row's byte is 1, and decreased where it is 0. The next block's weights are `groups` words further.
void bn_add_column(
    const uint32_t *weights, int32_t *out, uint32_t blocks, uint32_t groups, uint32_t column, int32_t code);

// narrow.c: products of one token by narrow tables. Returns 0 and leaves `out` as it was if the codes are too
// large for them.
int bn_bitlinear_narrow(const bn_input_t *input, const bn_product_t *products, int count, uint32_t groups);

static inline uint32_t bn_blocks_of(const bn_product_t *product) {
    return (product->rows + BN_ROWS_PER_BLOCK - 1) / BN_ROWS_PER_BLOCK;
}

// The weights of the first block, from this group on.
static inline const uint32_t *bn_weights_at(const bn_product_t *product, uint32_t group) {
    return (const uint32_t *)(product->matrix + BN_SCALE_SIZE) + group;
}

// first[4·blocks], second[4·blocks] = the two sums in each word of `pairs`
void bn_take_apart(const int32_t *pairs, int32_t *first, int32_t *second, uint32_t blocks);

static inline int32_t bn_first_of(int32_t pair) {
    return (int32_t)((uint32_t)pair << 16) >> 16;
}

static inline int32_t bn_second_of(int32_t pair) {
    return (int32_t)((uint32_t)pair - (uint32_t)bn_first_of(pair)) >> 16;
}

#endif
