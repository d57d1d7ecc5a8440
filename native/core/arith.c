// The integer arithmetic of SPEC.md section 2, vector by vector. No step leaves int32; the bounds are in
// SPEC.md.
#include "vector.h"

// By halves, because a Cortex-M0+ has no instruction for it and libgcc's helper is a call away.
int bn_bitlen(uint32_t a) {
    int n = 0;
    if (a >> 16) {
        n = 16;
        a >>= 16;
    }
    if (a >> 8) {
        n += 8;
        a >>= 8;
    }
    if (a >> 4) {
        n += 4;
        a >>= 4;
    }
    if (a >> 2) {
        n += 2;
        a >>= 2;
    }
    return n + (int)(a - (a & a >> 1)); // of 0 to 3
}

int32_t bn_rshr(int32_t x, int s) {
    if (s > 30) {
        return 0;
    }
    return s == 0 ? x : (x + ((int32_t)1 << (s - 1))) >> s;
}

// ⌊n / d⌋ for d > 0 and a quotient below 2^16: restoring division, since two of the targets cannot divide.
uint32_t bn_divide(uint32_t n, uint32_t d) {
    uint32_t quotient = 0;
    for (int i = 15; i >= 0; i--) {
        if (n >> i >= d) {
            n -= d << i;
            quotient |= (uint32_t)1 << i;
        }
    }
    return quotient;
}

// Newton's iteration r += r·(1 − u·r) from a straight line on; it comes from below, and is 1 short at most.
int32_t bn_recip(uint32_t u) {
    const int32_t one = (int32_t)1 << 30;
    int32_t d = (int32_t)u, r = 46250 - ((d * 15420) >> 15);
    r += (r * ((one - d * r) >> 15)) >> 15;
    r += (r * ((one - d * r) >> 12)) >> 18;
    r += one - d * r >= d;
    return r > 32767 ? 32767 : r;
}

// The same for r += r·(1 − v·r²) / 2, from a parabola on.
static int32_t rsqrt(uint32_t v) {
    int32_t a = (int32_t)(v >> 16), r = 43300 - ((a * (51900 - ((25200 * a) >> 16))) >> 16);
    for (int i = 0; i < 2; i++) {
        int32_t rest = ((int32_t)1 << 30) - a * ((r * r) >> 14);
        r += (r * (rest >> 15)) >> 16;
    }
    return BN_MAX(r, 1 << 14);
}

int32_t bn_exp2(int32_t d) {
    int32_t n = d >> 8, f = d & 255;
    if (n > 14) {
        return 0;
    }
    return (32768 - ((f * (5502 - ((1406 * f) >> 8))) >> 6)) >> n;
}

int32_t bn_sin(uint32_t phi) {
    int32_t u = (int32_t)((phi >> 15) & 32767);
    if (phi & ((uint32_t)1 << 30)) {
        u = 32768 - u;
    }
    int32_t v = (u * u) >> 15;
    int32_t w = 10543 - ((v * 1191) >> 15);
    w = 25736 - ((v * w) >> 15);
    int32_t r = (u * w + (1 << 14)) >> 15;
    return phi >> 31 ? -r : r;
}

bn_scale_t bn_mul(const bn_scale_t *a, const bn_scale_t *b) {
    bn_scale_t product = {0, 0};
    if (a->m != 0 && b->m != 0) {
        int32_t p = a->m * b->m;
        int s = p >= (int32_t)1 << 29 ? 15 : 14;
        product.m = p >> s;
        product.e = a->e + b->e + s;
    }
    return product;
}

// A model in RAM may have changed since it was checked; with 15 bits of m no product leaves int32 even then.
bn_scale_t bn_read_scale(const uint8_t *data) {
    bn_scale_t scale = {((const uint16_t *)data)[0] & 0x7FFF, ((const int16_t *)data)[1]};
    return scale;
}

void bn_scale_down(int32_t *x, uint32_t n, int s) {
    if (s > 0) {
        bn_scale(x, n, 1, (uint32_t)s, 0);
    } else if (s < 0) {
        bn_scale(x, n, (int32_t)1 << -s, 0, 0);
    }
}

int bn_scale_to(int32_t *x, uint32_t n, int length, int bits) {
    int s = length == 0 ? 0 : length - bits;
    bn_scale_down(x, n, s);
    return s;
}

int bn_normalize(int32_t *x, uint32_t n, int bits) {
    return bn_scale_to(x, n, bn_bitlen(bn_magnitudes(x, n)), bits);
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

void bn_copy(void *to, const void *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
}
