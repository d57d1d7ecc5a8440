// Products of ±1 and 0 by table lookup. A weight byte stands for a group of columns (8 binary or 5 ternary
// weights); for the current input, the table of a group holds the sum that each value of the byte selects.
// Building a table costs one addition per entry or two, and every row of every matrix that reads this input
// then needs one lookup per group.
//
// lookup.c is for every processor; lookup_<architecture>.S replaces it on one, and may order entries as it
// likes.
#ifndef BITNET_LOOKUP_H
#define BITNET_LOOKUP_H

#include "core.h"

enum {
    // A table for one token has an u16 for each value of the byte: the sum plus this, which is never
    // negative, so
    // two entries can be computed in one word. |sum| <= 127·8.
    BN_TABLE_BIAS = 1024,
    // A table for a pair of tokens has a word for each: the first token's sum plus the second's times 2^16.
    // As
    // long as the first sum fits 16 bits, sums of such words can be taken apart: for so many groups.
    BN_PAIR_GROUPS = 32,
    // Not what sums begin with, but that they go on from `out`.
    BN_FROM_OUT = 1,
};

// A stretch of groups, the same in every row.
typedef struct {
    const uint32_t *tables; // [groups][BN_TABLE_SIZE] of u16 or, for a pair of tokens, of u32
    uint32_t groups;        // at most BN_TABLES_AT_ONCE or, for a pair, BN_PAIR_TABLES_AT_ONCE
    uint32_t skip;          // bytes of weights from the end of a block's stretch to the next block's
    int32_t start;          // what the sums begin with, or BN_FROM_OUT
} bn_stretch_t;

// Tables of `groups` groups; codes are int8[groups·8 or ·5], those of binary weights from a multiple of 4 on.
void bn_build_binary(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_ternary(uint32_t *tables, const int8_t *codes, uint32_t groups);
void bn_build_binary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups);
void bn_build_ternary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups);

// out[4·blocks] = start or out, plus the entries that the weights select; `weights` is the first block's.
void bn_add_rows(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);
void bn_add_rows_pair(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks);

// first[4·blocks], second[4·blocks] = the two sums of each word
void bn_take_apart(const int32_t *pairs, int32_t *first, int32_t *second, uint32_t blocks);

static inline int32_t bn_first_of(int32_t pair) {
    return (int32_t)((uint32_t)pair << 16) >> 16;
}

static inline int32_t bn_second_of(int32_t pair) {
    return (int32_t)((uint32_t)pair - (uint32_t)bn_first_of(pair)) >> 16;
}

#endif
