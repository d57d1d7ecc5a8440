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
