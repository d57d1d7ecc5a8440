// kv.h for every processor.
#include "kv.h"

enum { PAIR_MASK = 0x000F000F };

// The product of two pairs, (a + b·2^16)·(c + d·2^16), is a·c + (a·d + b·c)·2^16 modulo 2^32: both products
// of the upper half are wanted, and the lower half stays below 2^15 in size, so that rounding takes it away.
void bn_dot_rows(const bn_column_t *column, const uint32_t pairs[BN_PAIRS_PER_WORD], int32_t *scores) {
    const uint8_t *row = column->first;
    uint32_t pair0 = pairs[0], pair1 = pairs[1], pair2 = pairs[2], pair3 = pairs[3];
    for (uint32_t t = 0; t < column->rows; t++, row += column->row_size) {
        uint32_t word = *(const uint32_t *)row, sum = 1 << 15;
        sum += (word & PAIR_MASK) * pair0;
        sum += ((word >> 4) & PAIR_MASK) * pair1;
        sum += ((word >> 8) & PAIR_MASK) * pair2;
        sum += ((word >> 12) & PAIR_MASK) * pair3;
        scores[t] += (int32_t)sum >> 16;
    }
}

void bn_weigh_rows(const bn_column_t *column, const int32_t *weights, uint32_t sums[BN_PAIRS_PER_WORD]) {
    const uint8_t *row = column->first;
    uint32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (uint32_t t = 0; t < column->rows; t++, row += column->row_size) {
        uint32_t word = *(const uint32_t *)row, weight = (uint32_t)weights[t];
        sum0 += (word & PAIR_MASK) * weight;
        sum1 += ((word >> 4) & PAIR_MASK) * weight;
        sum2 += ((word >> 8) & PAIR_MASK) * weight;
        sum3 += ((word >> 12) & PAIR_MASK) * weight;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

int32_t bn_scale_scores(const bn_column_t *exponents, int q_exponent, int32_t *scores) {
    const int8_t *k_exponent = (const int8_t *)exponents->first;
    int32_t greatest = INT32_MIN;
    for (uint32_t t = 0; t < exponents->rows; t++, k_exponent += exponents->row_size) {
        int net = q_exponent + *k_exponent;
        int32_t z = scores[t];
        z = net >= 0 ? z * ((int32_t)1 << (net < 14 ? net : 14)) : bn_rshr(z, -net);
        scores[t] = z;
        greatest = z > greatest ? z : greatest;
    }
    return greatest;
}

uint32_t bn_exponentials(int32_t *scores, uint32_t rows, int32_t greatest) {
    uint32_t sum = 0;
    for (uint32_t t = 0; t < rows; t++) {
        scores[t] = bn_exp2(greatest - scores[t]);
        sum += (uint32_t)scores[t];
    }
    return sum;
}

int32_t bn_value_weights(const bn_column_t *exponents, int32_t reciprocal, int shift, int32_t *scores) {
    const int8_t *v_exponent = (const int8_t *)exponents->first;
    int32_t sum = 0;
    for (uint32_t t = 0; t < exponents->rows; t++, v_exponent += exponents->row_size) {
        int s = shift - *v_exponent;
        scores[t] = (scores[t] * reciprocal) >> (s < 31 ? s : 31);
        sum += scores[t];
    }
    return sum;
}
