// bn_scale of vector.h, for every processor.
#include "vector.h"

void bn_scale(int32_t *x, uint32_t n, int32_t m, uint32_t pre_shift, uint32_t post_shift) {
    int32_t half = post_shift == 0 ? 0 : (int32_t)1 << (post_shift - 1);
    // Two loops, because x86-64 shifts by the one register cl: with two shifts in a loop, it would have to
    // reload the count for each.
    for (uint32_t i = 0; pre_shift > 0 && i < n; i++) {
        x[i] = x[i] >> pre_shift;
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = bn_plus(bn_times(x[i], m), half) >> post_shift;
    }
}
