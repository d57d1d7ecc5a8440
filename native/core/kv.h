// Loops over the rows of the KV cache: scores, softmax and weighted sums (SPEC.md 1.6 and 2.1, step 5). A
// word of a row holds eight int4 codes, each plus BN_CODE_BIAS, so that all of them are at least 0. One
// multiplication serves two codes, which lie 16 bits apart in the word once it is masked.
//
// kv.c is for every processor; <architecture>/kv.S replaces it on one.
#ifndef BITNET_KV_H
#define BITNET_KV_H

#include "core.h"

enum {
    BN_CODE_BIAS = 8,
    BN_CODES_PER_WORD = 8,
    BN_PAIRS_PER_WORD = 4,
    BN_PAIR_MASK = 0x000F000F,
    BN_FEW_ROWS = 16,     // sums of so many rows fit 16 bits,
    BN_ROWS_PER_SUM = 32, // and of so many if weights are halved
};

// Σ over the four pairs of a word. The product of two pairs, (a + b·2^16)·(c + d·2^16), is a·c +
// (a·d + b·c)·2^16 modulo 2^32: both products of the upper half are wanted, and a·c, less than half of one in
// all, comes along.
static inline uint32_t bn_multiply_word(uint32_t word, const uint32_t pairs[BN_PAIRS_PER_WORD]) {
    return (word & BN_PAIR_MASK) * pairs[0] + ((word >> 4) & BN_PAIR_MASK) * pairs[1] +
           ((word >> 8) & BN_PAIR_MASK) * pairs[2] + ((word >> 12) & BN_PAIR_MASK) * pairs[3];
}

// What the cache holds of one kv head, from its part of the first row on: a word with exponents (byte 0:
// minus that of k, byte 1: that of v), the words of k, as many words of v.
typedef struct {
    const uint8_t *first;
    uint32_t row_size, rows;
    uint32_t words;
} bn_rows_t;

// A query whose codes are q: what its products with keys are computed from.
typedef struct {
    uint32_t start;                      // of a sum: takes the codes' bias away
    int32_t shift;                       // of a sum, before the key's exponent is taken from it
    uint32_t pairs[BN_MAX_HEAD_DIM / 2]; // −q_j·2^16 − q_{j+4} for each pair of a word
} bn_query_t;

// The distances of SPEC.md: scores[t] = y_t; returns the least.
int32_t bn_score_rows(const bn_rows_t *rows, const bn_query_t *query, int32_t *scores);

// Softmax; the sums are results.
typedef struct {
    const uint8_t *weights; // [BN_NO_WEIGHT] by distance
    int32_t least;          // of the scores
    uint32_t exponent;      // the greatest of v, plus 1 if there are more than BN_FEW_ROWS
    uint32_t p, w;          // Σ p_t, Σ w_t
} bn_softmax_t;

// scores[t] = w_t
void bn_weigh_scores(const bn_rows_t *rows, bn_softmax_t *softmax, int32_t *scores);

// sums[j] += Σ_t weights[t]·code_j over a word of v, which begins `offset` bytes after the head's part, in
// each row. No BN_ROWS_PER_SUM weights in a row may add up to more than 2^12.
void bn_weigh_rows(
    const bn_rows_t *rows, uint32_t offset, const int32_t *weights, int32_t sums[BN_CODES_PER_WORD]);

// SPEC.md's ROPE; angles from a multiple of 4 on.
void bn_rope(int32_t *x, uint32_t heads, uint32_t head_dim, const int16_t *angles);

#endif
