// What our kernels are measured against: the same product done the way other libraries do, in our own code,
// with our compiler and flags. No straw men on Cortex-M0+: there each is as fast as the original in the same
// cycle model, or faster. Elsewhere they are plain C as well, where the originals would use DSP or vector
// instructions.
#ifndef BASELINES_H
#define BASELINES_H

#include <stdint.h>

enum { RUNQ_GROUP = 64, UNPACK_WEIGHTS = 16 };

// out[rows] = int8 of (bias + weights · input) times multiplier·2^(shift − 31), clamped; weights
// int8[rows][columns].
typedef struct {
    const int8_t *input, *weights;
    const int32_t *bias;
    int8_t *out;
    int32_t input_offset, out_offset, multiplier, shift;
    uint32_t columns, rows;
} int8_product_t;

// As CMSIS-NN's arm_nn_vec_mat_mult_t_s8 does without DSP instructions: three rows at a time.
void int8_cmsis_style(const int8_product_t *p);

// As llama2.c's runq.c does, but for its floats: groups of RUNQ_GROUP columns, each with a scale of its own.
// out[rows] = Σ over groups of (Σ input·weight)·input_scale·weight_scale >> 15; columns is a multiple of
// RUNQ_GROUP.
typedef struct {
    const int8_t *input, *weights;
    const int16_t *input_scales, *weight_scales; // [columns / RUNQ_GROUP], [rows][columns / RUNQ_GROUP]
    int32_t *out;
    uint32_t columns, rows;
} runq_product_t;

void int8_runq_style(const runq_product_t *p);

// Ternary weights, two bits each (0, 1, 3 for −1), sixteen to a word, added or subtracted one by one.
typedef struct {
    const int8_t *input;
    const uint32_t *weights; // [rows][columns / UNPACK_WEIGHTS]
    int32_t *out;
    uint32_t columns, rows;
} unpack_product_t;

void ternary_unpack(const unpack_product_t *p);

#endif
