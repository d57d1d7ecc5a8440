// Products of ±1 and 0 by table lookup. A weight byte stands for a group of columns (8 binary or 5 ternary
// weights); for the current input, the table of a group holds the sum that each value of the byte selects.
// Building a table costs one addition per entry or two, and every row of every matrix that reads this input
// then needs one lookup per group.
//
// lookup.c is for every processor; <architecture>/lookup.S replaces it on one, and may order the entries of a
// table in its own way.
#ifndef BITNET_LOOKUP_H
#define BITNET_LOOKUP_H

#include "core.h"

// Narrow tables pay where the loops that use them are in assembly.
#ifndef BN_NARROW
#ifdef __ARM_ARCH_6M__
#define BN_NARROW 1
#else
#define BN_NARROW 0
#endif
#endif

enum {
    // A table for one token has an u16 for each value of the byte: the sum plus this, which is never
    // negative, so two entries can be computed in one word. |sum| <= 127·8.
    BN_TABLE_BIAS = 1024,
    // A table for a pair of tokens has a word for each: the first token's sum plus the second's times 2^16.
    // As long as the first sum fits 16 bits, sums of such words can be taken apart: for so many groups.
    BN_PAIR_GROUPS = 32,
    // A narrow table, for one token, has an u8 for each value of the byte. Where the codes of a group add up
    // to this at most, signs aside, it takes half the time; eight codes of so few bits always do.
    BN_NARROW_SUM = 127,
    BN_NARROW_BITS = 4,
    BN_NARROW_BIAS = 128,
    BN_NARROW_AT_ONCE = 2 * BN_TABLES_AT_ONCE,
    // Not what sums begin with, but that they go on from `out`.
    BN_FROM_OUT = 1,
};

// A stretch of groups, the same in every row.
typedef struct {
    const uint32_t *tables; // [groups][BN_TABLE_SIZE] of u16; of u32 for a pair of tokens, of u8 if narrow
    uint32_t groups;        // at most BN_TABLES_AT_ONCE, BN_PAIR_TABLES_AT_ONCE or BN_NARROW_AT_ONCE
    uint32_t skip;          // bytes of weights from the end of a block's stretch to the next block's
    int32_t start;          // what the sums begin with, or BN_FROM_OUT
} bn_stretch_t;

// The groups from `group` on that have tables at once; a row has `groups` in all.
static inline void bn_set_stretch(
    bn_stretch_t *stretch, uint32_t group, uint32_t end, uint32_t at_once, uint32_t groups) {
    stretch->groups = BN_MIN(end - group, at_once);
    stretch->skip = 4 * (groups - stretch->groups);
}

// The first group whose Σ|code| may exceed BN_NARROW_SUM; `groups` if none does.
uint32_t bn_first_wide(const int8_t *codes, uint32_t groups);

// Tables of `groups` groups; codes are int8[groups·8 or ·5], those of binary weights from a multiple of 4 on.
void bn_build_binary(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_ternary(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_narrow(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_binary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups);
void bn_build_ternary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups);

// out[4·blocks] = start or out, plus the entries that the weights select; `weights` is the first block's.
void bn_add_rows(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);
void bn_add_rows_narrow(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);
void bn_add_rows_pair(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);

// out[4·blocks] += or −= code, as bit `column` of the row's byte is 1 or 0. The next block's weights are
// `groups` words on.
void bn_add_column(
    const uint32_t *weights, int32_t *out, uint32_t blocks, uint32_t groups, uint32_t column, int32_t code);

// narrow.c: products of one token with narrow tables. Returns 0, with `out` as it was, if they do not do.
int bn_bitlinear_narrow(const bn_input_t *input, const bn_product_t *products, int count, uint32_t groups);

static inline uint32_t bn_blocks_of(const bn_product_t *product) {
    return (product->rows + BN_ROWS_PER_BLOCK - 1) / BN_ROWS_PER_BLOCK;
}

// The weights of the first block of rows from this group on.
static inline const uint32_t *bn_weights_at(const bn_product_t *product, uint32_t group) {
    return (const uint32_t *)(product->matrix + 4) + group;
}

// first[4·blocks], second[4·blocks] = the two sums of each word
void bn_take_apart(const int32_t *pairs, int32_t *first, int32_t *second, uint32_t blocks);

static inline int32_t bn_first_of(int32_t pair) {
    return (int32_t)((uint32_t)pair << 16) >> 16;
}

static inline int32_t bn_second_of(int32_t pair) {
    return (int32_t)((uint32_t)pair - (uint32_t)bn_first_of(pair)) >> 16;
}

#endif
