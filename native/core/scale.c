// bn_scale of vector.h for every processor.
#include "vector.h"

void bn_scale(int32_t *x, uint32_t n, int32_t m, uint32_t down, uint32_t post) {
    int32_t half = post == 0 ? 0 : (int32_t)1 << (post - 1);
    // Of two shifts by a variable in one loop, x86-64 would move both counts to and fro.
    for (uint32_t i = 0; down > 0 && i < n; i++) {
        x[i] = x[i] >> down;
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = bn_plus(bn_times(x[i], m), half) >> post;
    }
}
