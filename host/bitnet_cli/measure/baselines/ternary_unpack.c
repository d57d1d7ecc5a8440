#include "baselines.h"

void ternary_unpack(const unpack_product_t *p) {
    const uint32_t *weights = p->weights;
    for (uint32_t row = 0; row < p->rows; row++) {
        const int8_t *input = p->input;
        int32_t sum = 0;
        for (uint32_t n = p->columns; n > 0; n -= UNPACK_WEIGHTS) {
            uint32_t word = *weights++;
            for (uint32_t i = 0; i < UNPACK_WEIGHTS; i++, word >>= 2, input++) {
                // 3 is −1 as two's complement of two bits.
                if (word & 1) {
                    sum += word & 2 ? -*input : *input;
                }
            }
        }
        p->out[row] = sum;
    }
}
