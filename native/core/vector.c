// The passes of vector.h but bn_scale, for every processor.
#include "vector.h"

static inline uint32_t magnitude(int32_t x) {
    return (uint32_t)(x ^ (x >> 31));
}

uint32_t bn_magnitudes(const int32_t *x, uint32_t n) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        all |= magnitude(x[i]);
    }
    return all;
}

uint32_t bn_greatest(const int32_t *x, uint32_t n) {
    int32_t greatest = 0;
    for (uint32_t i = 0; i < n; i++) {
        greatest = BN_MAX(greatest, x[i]);
    }
    return (uint32_t)greatest;
}

uint32_t bn_add_scaled(int32_t *x, const int32_t *y, uint32_t n, int32_t m, uint32_t shift) {
    int32_t half = (int32_t)1 << (shift - 1);
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = bn_plus(x[i], bn_plus(bn_times(y[i], m), half) >> shift);
        all |= magnitude(x[i]);
    }
    return all;
}

uint32_t bn_apply_gamma(
    const int32_t *x, int32_t *y, const int16_t *gamma, uint32_t n, uint32_t shift, uint32_t *squares) {
    uint32_t greatest = 0, all = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t value = x[i] >> shift;
        all += (uint32_t)(value * value);
        value *= gamma[i];
        y[i] = value;
        uint32_t size = (uint32_t)(value < 0 ? -value : value);
        greatest = BN_MAX(greatest, size);
    }
    *squares = all;
    return greatest;
}

void bn_round(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e, uint32_t bits) {
    int32_t limit = ((int32_t)1 << (bits - 1)) - 1, half = e == 0 ? 0 : (int32_t)1 << (e - 1);
    for (uint32_t i = 0; i < n; i++) {
        int32_t code = bn_plus(x[i], half) >> e;
        code = code > limit ? limit : code;
        codes[i] = (int8_t)(code < -limit ? -limit : code);
    }
}

void bn_round_within(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e) {
    int32_t half = e == 0 ? 0 : (int32_t)1 << (e - 1);
    for (uint32_t i = 0; i < n; i++) {
        codes[i] = (int8_t)((x[i] + half) >> e);
    }
}

int bn_quantize(const int32_t *x, uint32_t n, int bits, int8_t *codes) {
    int e = bn_code_exponent(bn_bitlen(bn_magnitudes(x, n)), bits);
    bn_round(x, codes, n, (uint32_t)e, (uint32_t)bits);
    return e;
}

uint32_t bn_gate(int32_t *gate, const int32_t *up, uint32_t n, uint32_t shift) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t size = gate[i] > 0 ? (uint32_t)gate[i] : 0;
        gate[i] = bn_times((int32_t)((size * size) >> shift), up[i]);
        all |= magnitude(gate[i]);
    }
    return all;
}
