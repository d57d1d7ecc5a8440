// Scaling a vector by a power of two.
#include "vector.h"

// x = x >> s, or x·2^−s if s is negative
void bn_scale_down(int32_t *x, uint32_t n, int s) {
    if (s > 0) {
        bn_scale(x, n, 1, (uint32_t)s, 0);
    } else if (s < 0) {
        bn_scale(x, n, (int32_t)1 << -s, 0, 0);
    }
}
