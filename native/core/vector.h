// Passes over a vector of n >= 1 elements. Most of the time outside the matrices is spent in them.
//
// vector.c is for every processor, and so is scale.c, which holds bn_scale alone. <architecture>/vector.S
// replaces both on one processor, <architecture>/scale.S only scale.c.
#ifndef BITNET_VECTOR_H
#define BITNET_VECTOR_H

#include "core.h"

// The least e >= 0 so that a number of this bitlen, shifted right by e, fits codes of `bits`. Rounding may
// still make it one too large.
static inline int bn_code_exponent(int length, int bits) {
    return BN_MAX(length - (bits - 1), 0);
}

// Signed overflow is undefined in C. A sound model never overflows, but noise in its place may, so products
// and sums of what comes from matrices are computed as unsigned numbers.
static inline int32_t bn_times(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

static inline int32_t bn_plus(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

// The bitwise or of all x, where −x − 1 stands for a negative x. It has the bitlen of MAG(x).
uint32_t bn_magnitudes(const int32_t *x, uint32_t n);

// max(0, x[0], x[1], …)
uint32_t bn_greatest(const int32_t *x, uint32_t n);

// x = RSHR((x >> pre_shift)·m, post_shift), 0 <= post_shift <= 31
void bn_scale(int32_t *x, uint32_t n, int32_t m, uint32_t pre_shift, uint32_t post_shift);

// x = x + RSHR(y·m, shift), 1 <= shift <= 31; returns bn_magnitudes(x).
uint32_t bn_add_scaled(int32_t *x, const int32_t *y, uint32_t n, int32_t m, uint32_t shift);

// y = (x >> shift)·gamma, where y may be x; *squares = Σ (x >> shift)². Returns max|y|, which is at most
// 2^30.
uint32_t bn_apply_gamma(
    const int32_t *x, int32_t *y, const int16_t *gamma, uint32_t n, uint32_t shift, uint32_t *squares);

// codes = clamp(RSHR(x, e), ±(2^(bits−1) − 1)), for x with |RSHR(x, e)| <= 2^(bits−1)
void bn_round(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e, uint32_t bits);

// codes = RSHR(x, e), where nothing has to be clamped
void bn_round_within(const int32_t *x, int8_t *codes, uint32_t n, uint32_t e);

// codes = HEAD_QUANT(x) with `bits` bits, for an even n; returns the exponent.
int bn_quantize(const int32_t *x, uint32_t n, int bits, int8_t *codes);

// gate = (max(gate, 0)² >> shift)·up; returns bn_magnitudes(gate).
uint32_t bn_gate(int32_t *gate, const int32_t *up, uint32_t n, uint32_t shift);

#endif
