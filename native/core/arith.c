// The integer arithmetic of SPEC.md section 2, vector by vector. No step leaves int32; the bounds are in
// SPEC.md.
#include "vector.h"

// By halves, because a Cortex-M0+ has no instruction for it and libgcc's helper is a call away.
int bn_bitlen(uint32_t a) {
    int n = 0;
    for (int half = 16; half > 0; half >>= 1) {
        if (a >> half) {
            a >>= half;
            n += half;
        }
    }
    return n + (int)a;
}

int32_t bn_rshr(int32_t x, int s) {
    if (s > 30) {
        return 0;
    }
    return s == 0 ? x : (x + ((int32_t)1 << (s - 1))) >> s;
}

int32_t bn_shift(int32_t x, int s) {
    return s < 0 ? x : bn_rshr(x, s);
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

int32_t bn_recip(uint32_t u) {
    uint32_t r = bn_divide((uint32_t)1 << 30, u);
    return r > 32767 ? 32767 : (int32_t)r;
}

// ⌊√a⌋, one bit of the root at a time.
static uint32_t isqrt(uint32_t a) {
    uint32_t root = 0;
    for (uint32_t bit = (uint32_t)1 << 30; bit > 0; bit >>= 2) {
        if (a >= root + bit) {
            a -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root;
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

// The least e >= 0 with which what has this bitlen fits codes of `bits`, but for rounding.
static int code_exponent(int length, int bits) {
    int e = length - (bits - 1);
    return e < 0 ? 0 : e;
}

// `work` may be x.
bn_scale_t bn_norm_quant(
    const int32_t *x, int32_t *work, const int16_t *gamma, uint32_t n, int bits, int8_t *codes) {
    bn_scale_t scale = {0, 0};
    int down = bn_bitlen(bn_magnitudes(x, n)) - 15;
    if (down < 0) {
        // Small vectors are rare, so they need not be fast.
        if (work != x) {
            bn_copy(work, x, 4 * n);
        }
        bn_normalize(work, n, 15);
        x = work;
        down = 0;
    }
    uint32_t shifts[2] = {(uint32_t)down, (uint32_t)bn_bitlen(n - 1)}, sum;
    int e = code_exponent(bn_bitlen(bn_weigh_by_gamma(x, work, gamma, n, shifts, &sum)), bits);
    bn_round(work, codes, n, (uint32_t)e, (uint32_t)bits);
    if (sum != 0) {
        int k = (32 - bn_bitlen(sum)) >> 1;
        scale.m = bn_recip(isqrt(sum << (2 * k)));
        scale.e = k - 30 + e;
    }
    return scale;
}

// A shift to the left is multiplied in; post > 30 leaves nothing. Where `bound`, which no |acc| exceeds, has
// 15 bits and the result has no fewer fraction bits than the scale, the shift to the left changes nothing and
// is left out.
void bn_requant(int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale, int fraction_bits) {
    int s = 0, post = -(scale->e + fraction_bits);
    if (bound >> 15 != 0 || post < 0) {
        int length = bn_bitlen(bn_magnitudes(acc, n));
        s = length == 0 ? 0 : length - 15;
        post -= s;
    }
    if (post > 30) {
        bn_clear(acc, n);
        return;
    }
    int32_t m = s < 0 ? scale->m << -s : scale->m;
    bn_scale(acc, n, m, s < 0 ? 0 : (uint32_t)s, post < 0 ? 0 : (uint32_t)post);
}

void bn_copy(void *to, const void *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
}

void bn_clear(int32_t *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        x[i] = 0;
    }
}
