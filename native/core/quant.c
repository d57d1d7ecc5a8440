// The arithmetic of SPEC.md section 2 on vectors.
#include "vector.h"

int bn_scale_to(int32_t *x, uint32_t n, int length, int bits) {
    int s = length == 0 ? 0 : length - bits;
    bn_scale_down(x, n, s);
    return s;
}

int bn_normalize(int32_t *x, uint32_t n, int bits) {
    return bn_scale_to(x, n, bn_bitlen(bn_magnitudes(x, n)), bits);
}

// REQUANT(acc) = RSHR(acc·m, *post), 1 <= *post <= 31, where no |acc| exceeds `bound`; returns m. |acc·m| <
// 2^30, or half of that if doubled already, so that a shift by 31 leaves nothing.
static int32_t requant_factor(uint32_t bound, const bn_scale_t *scale, int fraction_bits, uint32_t *post) {
    int s = bn_bitlen(bound) - 15;
    s = s < 0 ? 0 : s;
    int32_t m = scale->m >> s;
    int right = -(scale->e + s + fraction_bits);
    if (right < 1) {
        m *= 2;
        right = 1;
    }
    *post = right < 31 ? (uint32_t)right : 31;
    return m;
}

void bn_requant(int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale, int fraction_bits) {
    uint32_t post;
    int32_t m = requant_factor(bound, scale, fraction_bits, &post);
    bn_scale(acc, n, m, 0, post);
}

// Returns bn_magnitudes(x).
uint32_t bn_add_requant(int32_t *x, const int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale) {
    const int32_t limit = (int32_t)1 << 29;
    uint32_t post;
    int32_t m = requant_factor(bound, scale, 16, &post);
    uint32_t magnitudes = bn_add_scaled(x, acc, n, m, post);
    if (magnitudes >> 29) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] = x[i] < -limit ? -limit : BN_MIN(x[i], limit - 1);
        }
        magnitudes = (uint32_t)limit - 1;
    }
    return magnitudes;
}

// Newton's iteration r += r·(1 − v·r²) / 2 from a parabola on.
static int32_t rsqrt(uint32_t v) {
    int32_t a = (int32_t)(v >> 16), r = 43300 - ((a * (51900 - ((25200 * a) >> 16))) >> 16);
    for (int i = 0; i < 2; i++) {
        int32_t rest = ((int32_t)1 << 30) - a * ((r * r) >> 14);
        r += (r * (rest >> 15)) >> 16;
    }
    return BN_MAX(r, 1 << 14);
}

// `magnitudes`: bn_magnitudes(x). `work`, as large as x, may be x.
bn_scale_t bn_norm_quant(
    const bn_norm_t *norm, const int32_t *x, uint32_t magnitudes, int32_t *work, int8_t *codes) {
    uint32_t n = norm->size;
    bn_scale_t scale = {0, 0};
    int t = bn_bitlen(n - 1), wanted = (31 - t) >> 1, length = bn_bitlen(magnitudes);
    if (length < wanted) {
        // Small vectors are rare, so they need not be fast.
        if (work != x) {
            bn_copy(work, x, 4 * n);
        }
        bn_scale_to(work, n, length, wanted);
        x = work;
        length = wanted;
    }
    uint32_t sum, greatest = bn_weigh_by_gamma(x, work, norm->gamma, n, (uint32_t)(length - wanted), &sum);
    int bits = norm->bits, e = bn_code_exponent(bn_bitlen(greatest), bits);
    if (bn_rshr((int32_t)greatest, e) >> (bits - 1)) {
        bn_round(work, codes, n, (uint32_t)e, (uint32_t)bits);
    } else {
        bn_round_within(work, codes, n, (uint32_t)e);
    }
    sum >>= t & 1;
    if (sum != 0) {
        int k = (32 - bn_bitlen(sum)) >> 1;
        scale.m = rsqrt(sum << (2 * k));
        scale.e = k - 30 + e + (t >> 1);
    }
    return scale;
}

void bn_copy(void *to, const void *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
}
