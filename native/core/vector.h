// Passes over a vector of n >= 1 elements: what most of the time outside the matrices is spent in.
//
// vector.c and scale.c are for every processor; vector_<architecture>.S replaces both on one, or
// scale_<architecture>.S only bn_scale.
#ifndef BITNET_VECTOR_H
#define BITNET_VECTOR_H

#include "core.h"

// The or of all |x|, which has the bitlen of the greatest.
uint32_t bn_magnitudes(const int32_t *x, uint32_t n);

// x = RSHR((x >> down)·m, post), 0 <= post <= 30
void bn_scale(int32_t *x, uint32_t n, int32_t m, uint32_t down, uint32_t post);

// y = (x >> down)·gamma, which may lie where x does; returns magnitudes(y).
// *squares = Σ (x >> down)² >> t
uint32_t bn_weigh_by_gamma(const int32_t *x, int32_t *y, const int16_t *gamma, uint32_t n,
    const uint32_t shifts[2], uint32_t *squares);

// codes = clamp(RSHR(x, e), ±(2^(bits−1) − 1)) where |RSHR(x, e)| <= 2^(bits−1)
void bn_round(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e, uint32_t bits);

// HEAD_QUANT of n elements, an even number, to codes of `bits`; returns the exponent.
int bn_quantize(const int32_t *x, uint32_t n, int bits, int8_t *codes);

// x = max(x, 0); returns magnitudes(x).
uint32_t bn_relu(int32_t *x, uint32_t n);

// gate = gate²·up
void bn_gate(int32_t *gate, const int32_t *up, uint32_t n);

// x = x + y, but within ±2^29; |x| <= 2^29, |y| <= 2^30
void bn_add_clamped(int32_t *x, const int32_t *y, uint32_t n);

#endif
