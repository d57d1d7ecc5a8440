// Products with the rows of the KV cache, a word of each row at a time: eight int4 codes, each plus
// BN_CODE_BIAS, so that all of them are at least 0. One multiplication serves two codes, which lie 16 bits
// apart in the word once it is masked.
//
// kv.c is for every processor; kv_<architecture>.S replaces it on one.
#ifndef BITNET_KV_H
#define BITNET_KV_H

#include "core.h"

enum { BN_CODE_BIAS = 8, BN_CODES_PER_WORD = 8, BN_PAIRS_PER_WORD = 4 };

// One word, or one byte, of each row: the rows of a cache, from a place in the first on.
typedef struct {
    const uint8_t *first;
    uint32_t row_size, rows;
} bn_column_t;

// scores[t] += Σ q_j·word_j over the word of row t; |Σ| < 2^15. pairs[j] is q_j·2^16 + q_{j+4}, |q| <= 127.
void bn_dot_rows(const bn_column_t *column, const uint32_t pairs[BN_PAIRS_PER_WORD], int32_t *scores);

// sums[j] = Σ_t weights[t]·(word_j + 2^16·word_{j+4}) for weights that add up to less than 2^16 / 15.
void bn_weigh_rows(const bn_column_t *column, const int32_t *weights, uint32_t sums[BN_PAIRS_PER_WORD]);

// scores[t] = SPEC.md's z_t, from dot_t and the exponents of k; returns the greatest.
int32_t bn_scale_scores(const bn_column_t *exponents, int q_exponent, int32_t *scores);

// scores[t] = EXP2(greatest − scores[t]); returns their sum.
uint32_t bn_exponentials(int32_t *scores, uint32_t rows, int32_t greatest);

// scores[t] = (scores[t]·reciprocal) >> (shift − exponent of row t); returns their sum. Shifts are below 256.
int32_t bn_value_weights(const bn_column_t *exponents, int32_t reciprocal, int shift, int32_t *scores);

#endif
