// Loops over the rows of the KV cache: scores, softmax and weighted sums (SPEC.md 1.6 and 2.1, step 5); and
// RoPE.
//
// A word of a row holds eight int4 codes, each plus BN_CODE_BIAS, so that none is negative. One
// multiplication multiplies two codes at once: those that lie 16 bits apart in the word once the others are
// masked out.
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
    BN_PROBABILITY_BITS = 8, // fraction bits of what PROBABILITY returns
    BN_HALF_WORD = 16,       // bits between the two codes of a pair
    BN_FEW_ROWS = 16,        // weighted sums of this many rows fit 16 bits,
    BN_ROWS_PER_SUM = 32,    // and of this many if the factors are halved
};

// The sum of the products of a word's four pairs with those of `pairs`. The product of two pairs,
// (a + b·2^16)·(c + d·2^16), is a·c + (a·d + b·c)·2^16 modulo 2^32. What is wanted is the upper half. a·c
// comes along, but all four a·c together stay below half of the upper half's unit.
static inline uint32_t bn_multiply_word(uint32_t word, const uint32_t pairs[BN_PAIRS_PER_WORD]) {
    return (word & BN_PAIR_MASK) * pairs[0] + ((word >> 4) & BN_PAIR_MASK) * pairs[1] +
           ((word >> 8) & BN_PAIR_MASK) * pairs[2] + ((word >> 12) & BN_PAIR_MASK) * pairs[3];
}

// One kv head's part of every cache row: a word with minus the exponents of k (byte 0) and of v (byte 1),
// then the words of k, then as many words of v.
typedef struct {
    const uint8_t *first; // its part of the first row
    uint32_t row_size, rows;
    uint32_t words; // of k
} bn_rows_t;

// A query with the codes q, prepared for products with keys.
typedef struct {
    uint32_t start; // what a sum begins with, so that the bias of the key's codes cancels
    int32_t shift;  // by which a sum is shifted right, less the key's exponent
    uint32_t pairs[BN_MAX_HEAD_DIM / 2]; // −q_j·2^16 − q_{j+4} for each pair of a word
} bn_query_t;

// scores[t] = SPEC.md's y_t: the less, the more attention the row gets. Returns the least.
int32_t bn_score_rows(const bn_rows_t *rows, const bn_query_t *query, int32_t *scores);

// What bn_softmax takes besides scores, and the sums that it returns.
typedef struct {
    const uint8_t *table;     // PROBABILITY of each distance below BN_SOFTMAX_TABLE_SIZE
    int32_t least;            // of the scores
    uint32_t exponent;        // the greatest of v, plus 1 if there are more than BN_FEW_ROWS
    uint32_t probability_sum; // result: Σ p_t, by which the output is still to be divided
    uint32_t factor_sum;      // result: Σ w_t
} bn_softmax_t;

// Softmax: scores[t] = w_t, the factor of row t in the weighted sum of values. It is the probability p_t,
// shifted by the exponent of the row's values.
void bn_softmax(const bn_rows_t *rows, bn_softmax_t *softmax, int32_t *scores);

// sums[j] += Σ_t factors[t]·code_j, where code_j are the codes of one word of v: in each row, the word at
// `offset` bytes from the start of the head's part. No BN_ROWS_PER_SUM successive factors may add up to more
// than 2^12.
void bn_sum_rows(
    const bn_rows_t *rows, uint32_t offset, const int32_t *factors, int32_t sums[BN_CODES_PER_WORD]);

// SPEC.md's ROPE, in place, with the cosine and sine of each pair in `angles`, which lies at a multiple of 4.
void bn_rope(int32_t *x, uint32_t heads, uint32_t head_dim, const int16_t *angles);

#endif
