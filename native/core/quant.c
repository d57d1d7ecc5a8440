// The arithmetic of SPEC.md section 2 on vectors: NORMALIZE, NORM_QUANT, REQUANT and ADD. No step leaves 32
// bits; SPEC.md has the bounds.
#include "vector.h"

enum {
    X_BITS = 29,     // of the residual stream, without its sign
    RSQRT_BITS = 30, // RSQRT returns 2^30 divided by a square root
};

// Scales x, whose MAG has `length` bits, to `bits` bits; returns s, where the old x was x·2^s.
int bn_scale_to(int32_t *x, uint32_t n, int length, int bits) {
    int s = length == 0 ? 0 : length - bits;
    bn_scale_down(x, n, s);
    return s;
}

int bn_normalize(int32_t *x, uint32_t n, int bits) {
    return bn_scale_to(x, n, bn_bitlen(bn_magnitudes(x, n)), bits);
}

// Returns m and sets *shift, 1 to 31, so that REQUANT(acc) = RSHR(acc·m, *shift) where no |acc| exceeds
// `bound`. |acc·m| stays below 2^30, so that a shift by 31 leaves 0, or with a shift by 1 below 2^31.
static int32_t requant_factor(uint32_t bound, const bn_scale_t *scale, int fraction_bits, uint32_t *shift) {
    int s = bn_bitlen(bound) - BN_FACTOR_BITS;
    s = s < 0 ? 0 : s;
    int32_t m = scale->m >> s;
    int right = -(scale->e + s + fraction_bits);
    if (right < 1) {
        m *= 2;
        right = 1;
    }
    *shift = right < BN_MAX_SHIFT ? (uint32_t)right : BN_MAX_SHIFT;
    return m;
}

void bn_requant(int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale, int fraction_bits) {
    uint32_t shift;
    int32_t m = requant_factor(bound, scale, fraction_bits, &shift);
    bn_scale(acc, n, m, 0, shift);
}

// x = ADD(x, REQUANT(acc)); returns bn_magnitudes(x).
uint32_t bn_add_requant(int32_t *x, const int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale) {
    const int32_t limit = (int32_t)1 << X_BITS;
    uint32_t shift;
    int32_t m = requant_factor(bound, scale, BN_X_FRACTION_BITS, &shift);
    uint32_t magnitudes = bn_add_scaled(x, acc, n, m, shift);
    if (magnitudes >> X_BITS) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] = x[i] < -limit ? -limit : BN_MIN(x[i], limit - 1);
        }
        magnitudes = (uint32_t)limit - 1;
    }
    return magnitudes;
}

// RSQRT, by Newton's iteration r += r·(1 − v·r²) / 2, which begins with a parabola.
static int32_t rsqrt(uint32_t v) {
    int32_t a = (int32_t)(v >> 16), r = 43300 - ((a * (51900 - ((25200 * a) >> 16))) >> 16);
    for (int i = 0; i < 2; i++) {
        int32_t rest = ((int32_t)1 << RSQRT_BITS) - a * ((r * r) >> 14);
        r += (r * (rest >> 15)) >> 16;
    }
    return BN_MAX(r, 1 << 14);
}

// `magnitudes` is bn_magnitudes(x). `work` has the size of x and may be x.
bn_scale_t bn_norm_quant(
    const bn_norm_t *norm, const int32_t *x, uint32_t magnitudes, int32_t *work, int8_t *codes) {
    uint32_t n = norm->size;
    bn_scale_t scale = {0, 0};
    int t = bn_bitlen(n - 1), wanted = (BN_INT_BITS - t) >> 1, length = bn_bitlen(magnitudes);
    if (length < wanted) {
        // Small vectors are rare, so they need not be fast.
        if (work != x) {
            bn_copy(work, x, 4 * n);
        }
        bn_scale_to(work, n, length, wanted);
        x = work;
        length = wanted;
    }
    uint32_t sum, greatest = bn_apply_gamma(x, work, norm->gamma, n, (uint32_t)(length - wanted), &sum);
    int bits = norm->bits, e = bn_code_exponent(bn_bitlen(greatest), bits);
    if (bn_rshr((int32_t)greatest, e) >> (bits - 1)) {
        bn_round(work, codes, n, (uint32_t)e, (uint32_t)bits);
    } else {
        bn_round_within(work, codes, n, (uint32_t)e);
    }
    sum >>= t & 1;
    if (sum != 0) {
        // An even shift brings the highest bit to bit 30 or 31.
        int k = (32 - bn_bitlen(sum)) >> 1;
        scale.m = rsqrt(sum << (2 * k));
        scale.e = k - RSQRT_BITS + e + (t >> 1);
    }
    return scale;
}

void bn_copy(void *to, const void *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
}
