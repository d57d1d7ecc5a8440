// The loops of kv.h, for every processor.
#include "kv.h"

// SPEC.md's Y_t: minus the dot product of query and key, times 2^16.
static int32_t negative_dot(const uint32_t *words, uint32_t count, const bn_query_t *query) {
    uint32_t sum = query->start;
    for (uint32_t i = 0; i < count; i++) {
        sum += bn_multiply_word(words[i], query->pairs + i * BN_PAIRS_PER_WORD);
    }
    return (int32_t)sum;
}

int32_t bn_score_rows(const bn_rows_t *rows, const bn_query_t *query, int32_t *scores) {
    const uint8_t *row = rows->first;
    int32_t least = INT32_MAX;
    for (uint32_t t = 0; t < rows->rows; t++, row += rows->row_size) {
        uint32_t shift = ((uint32_t)query->shift + row[0]) & 255;
        int32_t y = negative_dot((const uint32_t *)row + 1, rows->words, query) >>
                    (shift < BN_MAX_SHIFT ? shift : BN_MAX_SHIFT);
        scores[t] = y;
        least = y < least ? y : least;
    }
    return least;
}

void bn_softmax(const bn_rows_t *rows, bn_softmax_t *softmax, int32_t *scores) {
    const uint8_t *row = rows->first;
    softmax->probability_sum = softmax->factor_sum = 0;
    for (uint32_t t = 0; t < rows->rows; t++, row += rows->row_size) {
        uint32_t distance = (uint32_t)scores[t] - (uint32_t)softmax->least;
        uint32_t p = distance < BN_SOFTMAX_TABLE_SIZE ? softmax->table[distance] : 0;
        uint32_t shift = (softmax->exponent + row[1]) & 255;
        uint32_t factor = shift <= BN_PROBABILITY_BITS ? (p + ((1u << shift) >> 1)) >> shift : 0;
        softmax->probability_sum += p;
        softmax->factor_sum += factor;
        scores[t] = (int32_t)factor;
    }
}

// sums[j] += the weighted sums of `count` rows, few enough for the halves of a word; returns the row after
// them.
static const uint8_t *sum_some(
    const uint8_t *row, uint32_t row_size, const int32_t *factors, uint32_t count, int32_t *sums) {
    uint32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (uint32_t t = 0; t < count; t++, row += row_size) {
        uint32_t word = *(const uint32_t *)row, factor = (uint32_t)factors[t];
        sum0 += (word & BN_PAIR_MASK) * factor;
        sum1 += ((word >> 4) & BN_PAIR_MASK) * factor;
        sum2 += ((word >> 8) & BN_PAIR_MASK) * factor;
        sum3 += ((word >> 12) & BN_PAIR_MASK) * factor;
    }
    sums[0] += (int32_t)(sum0 & 0xFFFF);
    sums[1] += (int32_t)(sum1 & 0xFFFF);
    sums[2] += (int32_t)(sum2 & 0xFFFF);
    sums[3] += (int32_t)(sum3 & 0xFFFF);
    sums[4] += (int32_t)(sum0 >> 16);
    sums[5] += (int32_t)(sum1 >> 16);
    sums[6] += (int32_t)(sum2 >> 16);
    sums[7] += (int32_t)(sum3 >> 16);
    return row;
}

void bn_sum_rows(
    const bn_rows_t *rows, uint32_t offset, const int32_t *factors, int32_t sums[BN_CODES_PER_WORD]) {
    const uint8_t *row = rows->first + offset;
    uint32_t left = rows->rows;
    for (; left > BN_ROWS_PER_SUM; left -= BN_ROWS_PER_SUM, factors += BN_ROWS_PER_SUM) {
        row = sum_some(row, rows->row_size, factors, BN_ROWS_PER_SUM, sums);
    }
    sum_some(row, rows->row_size, factors, left, sums);
}

void bn_rope(int32_t *x, uint32_t heads, uint32_t head_dim, const int16_t *angles) {
    uint32_t half = head_dim >> 1;
    for (; heads > 0; heads--, x += head_dim) {
        for (uint32_t i = 0; i < half; i++) {
            // Unsigned, because noise may overflow; see vector.h.
            uint32_t a = (uint32_t)x[i], b = (uint32_t)x[i + half];
            uint32_t c = (uint32_t)angles[2 * i], n = (uint32_t)angles[2 * i + 1];
            x[i] = (int32_t)(a * c - b * n);
            x[i + half] = (int32_t)(a * n + b * c);
        }
    }
}
