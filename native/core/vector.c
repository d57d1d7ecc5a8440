// vector.h for every processor.
#include "vector.h"

static inline uint32_t magnitude(int32_t x) {
    uint32_t sign = (uint32_t)(x >> 31);
    return ((uint32_t)x ^ sign) - sign;
}

uint32_t bn_magnitudes(const int32_t *x, uint32_t n) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        all |= magnitude(x[i]);
    }
    return all;
}

uint32_t bn_weigh_by_gamma(const int32_t *x, int32_t *y, const int16_t *gamma, uint32_t n,
    const uint32_t shifts[2], uint32_t *squares) {
    uint32_t down = shifts[0], t = shifts[1], all = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t value = x[i] >> down;
        sum += (uint32_t)(value * value) >> t;
        y[i] = value * gamma[i];
        all |= magnitude(y[i]);
    }
    *squares = sum;
    return all;
}

void bn_round(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e, uint32_t bits) {
    int32_t limit = ((int32_t)1 << (bits - 1)) - 1, half = e == 0 ? 0 : (int32_t)1 << (e - 1);
    for (uint32_t i = 0; i < n; i++) {
        int32_t code = (x[i] + half) >> e;
        code = code > limit ? limit : code;
        codes[i] = (int8_t)(code < -limit ? -limit : code);
    }
}

int bn_quantize(const int32_t *x, uint32_t n, int bits, int8_t *codes) {
    int e = bn_bitlen(bn_magnitudes(x, n)) - (bits - 1);
    e = e < 0 ? 0 : e;
    bn_round(x, codes, n, (uint32_t)e, (uint32_t)bits);
    return e;
}

uint32_t bn_relu(int32_t *x, uint32_t n) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = x[i] > 0 ? x[i] : 0;
        all |= (uint32_t)x[i];
    }
    return all;
}

void bn_gate(int32_t *gate, const int32_t *up, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        gate[i] = gate[i] * gate[i] * up[i];
    }
}

void bn_add_clamped(int32_t *x, const int32_t *y, uint32_t n) {
    const int32_t limit = (int32_t)1 << 29;
    for (uint32_t i = 0; i < n; i++) {
        int32_t sum = x[i] + y[i];
        sum = sum > limit ? limit : sum;
        x[i] = sum < -limit ? -limit : sum;
    }
}
