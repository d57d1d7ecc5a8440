// Passes over a vector of n >= 1 elements: what most of the time outside the matrices is spent in.
//
// vector.c is for every processor, and so is scale.c, which holds bn_scale alone. <architecture>/vector.S
// replaces both on one processor, <architecture>/scale.S only scale.c.
#ifndef BITNET_VECTOR_H
#define BITNET_VECTOR_H

#include "core.h"

// The least e >= 0 with which what has this bitlen fits codes of `bits`, but for rounding.
static inline int bn_code_exponent(int length, int bits) {
    return BN_MAX(length - (bits - 1), 0);
}

// Noise in place of a model may overflow what a model cannot, so that products and sums of what comes from
// matrices are unsigned.
static inline int32_t bn_times(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

static inline int32_t bn_plus(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

// The or of all x, those below 0 as −x − 1: it has the bitlen of MAG(x).
uint32_t bn_magnitudes(const int32_t *x, uint32_t n);

// max(0, x[])
uint32_t bn_greatest(const int32_t *x, uint32_t n);

// x = RSHR((x >> down)·m, post), 0 <= post <= 31
void bn_scale(int32_t *x, uint32_t n, int32_t m, uint32_t down, uint32_t post);

// x = x + RSHR(y·m, post), 1 <= post <= 31; returns bn_magnitudes(x).
uint32_t bn_add_scaled(int32_t *x, const int32_t *y, uint32_t n, int32_t m, uint32_t post);

// y = (x >> down)·gamma, which may lie where x does; returns max|y|, at most 2^30. *squares = Σ (x >> down)²
uint32_t bn_weigh_by_gamma(
    const int32_t *x, int32_t *y, const int16_t *gamma, uint32_t n, uint32_t down, uint32_t *squares);

// codes = clamp(RSHR(x, e), ±(2^(bits−1) − 1)) where |RSHR(x, e)| <= 2^(bits−1)
void bn_round(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e, uint32_t bits);

// The same where nothing has to be clamped.
void bn_round_within(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e);

// HEAD_QUANT of n elements, an even number, to codes of `bits`; returns the exponent.
int bn_quantize(const int32_t *x, uint32_t n, int bits, int8_t *codes);

// gate = (max(gate, 0)² >> down)·up; returns bn_magnitudes(gate).
uint32_t bn_gate(int32_t *gate, const int32_t *up, uint32_t n, uint32_t down);

#endif
