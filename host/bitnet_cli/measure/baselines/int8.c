#include "baselines.h"

static int32_t doubling_high(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

static int32_t requantize(int32_t sum, const int8_product_t *p) {
    int32_t left = p->shift > 0 ? p->shift : 0, right = p->shift > 0 ? 0 : -p->shift;
    int32_t high = doubling_high((int32_t)((uint32_t)sum << left), p->multiplier);
    int32_t mask = (int32_t)(((uint32_t)1 << right) - 1), threshold = (mask >> 1) + (high < 0);
    return (high >> right) + ((high & mask) > threshold);
}

static int8_t result(int32_t sum, const int8_product_t *p) {
    int32_t y = requantize(sum, p) + p->out_offset;
    return (int8_t)(y > 127 ? 127 : y < -128 ? -128 : y);
}

void int8_cmsis_style(const int8_product_t *p) {
    const int8_t *rows = p->weights;
    const uint32_t columns = p->columns;
    const int32_t offset = p->input_offset;
    uint32_t row = 0;
    for (; row + 3 <= p->rows; row += 3, rows += 3 * columns) {
        const int8_t *input = p->input;
        const int8_t *row0 = rows, *row1 = rows + columns, *row2 = rows + 2 * columns;
        int32_t sum0 = p->bias[row], sum1 = p->bias[row + 1], sum2 = p->bias[row + 2];
        for (uint32_t n = columns; n > 0; n--) {
            const int32_t x = *input++ + offset;
            sum0 += x * *row0++;
            sum1 += x * *row1++;
            sum2 += x * *row2++;
        }
        p->out[row] = result(sum0, p);
        p->out[row + 1] = result(sum1, p);
        p->out[row + 2] = result(sum2, p);
    }
    for (; row < p->rows; row++) {
        int32_t sum = p->bias[row];
        for (uint32_t i = 0; i < columns; i++) {
            sum += (p->input[i] + offset) * *rows++;
        }
        p->out[row] = result(sum, p);
    }
}

void int8_runq_style(const runq_product_t *p) {
    const int8_t *weights = p->weights;
    const int16_t *weight_scales = p->weight_scales;
    for (uint32_t row = 0; row < p->rows; row++) {
        int32_t value = 0;
        for (uint32_t group = 0; group < p->columns; group += RUNQ_GROUP) {
            int32_t sum = 0;
            for (uint32_t i = 0; i < RUNQ_GROUP; i++) {
                sum += (int32_t)p->input[group + i] * *weights++;
            }
            int32_t scale = p->input_scales[group / RUNQ_GROUP] * *weight_scales++ >> 15;
            value += (sum >> 5) * scale >> 10;
        }
        p->out[row] = value;
    }
}
