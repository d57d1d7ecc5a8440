// The arithmetic of SPEC.md section 2 on single numbers. No step leaves 32 bits; SPEC.md has the bounds.
#include "core.h"

// Halves the range at each step: a Cortex-M0+ has no instruction that counts leading zeros, and the core uses
// no library.
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
    return n + (int)(a - (a & a >> 1)); // bitlen of a number from 0 to 3
}

int32_t bn_rshr(int32_t x, int s) {
    if (s > 30) {
        return 0;
    }
    return s == 0 ? x : (x + ((int32_t)1 << (s - 1))) >> s;
}

// ⌊n / d⌋ for d > 0 and a quotient below 2^16. This is restoring division, since two of the targets cannot
// divide.
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

// Newton's iteration r += r·(1 − u·r), which begins with a straight line. It approaches the result from below
// and ends at most 1 short of it.
int32_t bn_recip(uint32_t u) {
    const int32_t one = (int32_t)1 << BN_RECIP_BITS;
    int32_t d = (int32_t)u, r = 46250 - ((d * 15420) >> 15);
    r += (r * ((one - d * r) >> 15)) >> 15;
    r += (r * ((one - d * r) >> 12)) >> 18;
    r += one - d * r >= d;
    return r > 32767 ? 32767 : r;
}

int32_t bn_exp2(int32_t d) {
    int32_t n = d >> BN_EXP2_INPUT_BITS, f = d & ((1 << BN_EXP2_INPUT_BITS) - 1);
    if (n >= BN_EXP2_BITS) {
        return 0;
    }
    return ((1 << BN_EXP2_BITS) - ((f * (5502 - ((1406 * f) >> 8))) >> 6)) >> n;
}

int32_t bn_sin(uint32_t phi) {
    int32_t u = (int32_t)((phi >> 15) & 32767);
    if (phi & BN_QUARTER_TURN) { // the second or the fourth quarter
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
        int s = p >= 1 << (2 * BN_FACTOR_BITS - 1) ? BN_FACTOR_BITS : BN_FACTOR_BITS - 1;
        product.m = p >> s;
        product.e = a->e + b->e + s;
    }
    return product;
}

// A model in RAM may have changed since it was checked. So m is cut to the bits that it should have, and no
// product leaves int32.
bn_scale_t bn_read_scale(const uint8_t *data) {
    bn_scale_t scale = {
        ((const uint16_t *)data)[0] & ((1 << BN_FACTOR_BITS) - 1), ((const int16_t *)data)[1]};
    return scale;
}
