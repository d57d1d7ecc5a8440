// vector.h for Cortex-M0 and M0+, in Thumb-1: four elements at a time, then the rest one by one. Cycles for each element
// of a four: magnitudes 5, greatest 4, scale 7.3 (6 if pre_shift is 0), add_scaled 12, apply_gamma 13, round 11,
// round_within 6, gate 15 (9 where the gate is closed).

#include "thumb1.inc"

    // \all |= \value or, if it is negative, −\value − 1. That is computed in \sign, so that \value stays as it is.
    .macro gather all, value, sign
    asrs \sign, \value, #31
    eors \sign, \value
    orrs \all, \sign
    .endm

    // r0: x, r1: n. Returns the bitwise or in r0.
    leaf bn_magnitudes
    movs r3, #0
    subs r1, #4
    blo magnitudes_rest
magnitudes_four:
    ldm r0!, {r4-r7}
    gather r3, r4, r2
    gather r3, r5, r2
    gather r3, r6, r2
    gather r3, r7, r2
    subs r1, #4
    bhs magnitudes_four
magnitudes_rest:
    adds r1, #4
    beq magnitudes_done
magnitudes_one:
    ldm r0!, {r4}
    gather r3, r4, r2
    subs r1, #1
    bne magnitudes_one
magnitudes_done:
    movs r0, r3
    end_leaf bn_magnitudes

    // r3: the greatest so far
    .macro compare value, name
    cmp \value, r3
    bgt \name\()_greater
\name:
    .endm

    .macro greater value, name
\name\()_greater:
    movs r3, \value
    b \name
    .endm

    // r0: x, r1: n
    leaf bn_greatest
    movs r3, #0
    subs r1, #4
    blo greatest_rest
greatest_four:
    ldm r0!, {r4-r7}
    compare r4, greatest_first
    compare r5, greatest_second
    compare r6, greatest_third
    compare r7, greatest_fourth
    subs r1, #4
    bhs greatest_four
greatest_rest:
    adds r1, #4
    beq greatest_done
greatest_one:
    ldm r0!, {r4}
    compare r4, greatest_single
    subs r1, #1
    bne greatest_one
greatest_done:
    movs r0, r3
    end_leaf bn_greatest
    greater r4, greatest_first
    greater r5, greatest_second
    greater r6, greatest_third
    greater r7, greatest_fourth
    greater r4, greatest_single

    .macro scale value
    asrs \value, \value, r3
    multiply \value
    .endm

    .macro multiply value
    muls \value, r2
    add \value, r8
    asrs \value, \value, r1
    .endm

    // r0: x, r1: n, r2: m, r3: pre_shift, [sp]: post_shift
    begin bn_scale
    mov r9, r1
    ldr r1, [sp, #36]
    // r8 = half of 2^post_shift
    movs r4, #1
    lsls r4, r4, r1
    lsrs r4, r4, #1
    mov r8, r4
    mov r4, r9
    lsrs r4, r4, #2
    beq scale_rest
    lsls r4, r4, #4
    adds r4, r4, r0
    mov r10, r4             // the end of the fours
    cmp r3, #0
    beq multiply_fours
scale_four:
    ldm r0!, {r4-r7}
    subs r0, #16
    scale r4
    scale r5
    scale r6
    scale r7
    stm r0!, {r4-r7}
    cmp r0, r10
    bne scale_four
    b scale_rest
multiply_fours:
    mov r3, r0
multiply_four:
    ldm r0!, {r4-r7}
    multiply r4
    multiply r5
    multiply r6
    multiply r7
    stm r3!, {r4-r7}
    cmp r0, r10
    bne multiply_four
    movs r3, #0
scale_rest:
    mov r5, r9
    lsls r5, r5, #30
    lsrs r5, r5, #30
    beq scale_done
scale_one:
    ldr r4, [r0]
    scale r4
    stm r0!, {r4}
    subs r5, #1
    bne scale_one
scale_done:
    end bn_scale, 0

    // \y = x + RSHR(y·m, shift). The last bit that is shifted out is the carry, which rounds.
    .macro add_product y, offset
    muls \y, r3
    ldr r6, [r0, #\offset]
    asrs \y, \y, r2
    adcs \y, r6
    .endm

    // Two elements, 22 cycles
    .macro add_products
    ldm r1!, {r4, r5}
    add_product r4, 0
    add_product r5, 4
    stm r0!, {r4, r5}
    gather r7, r4, r6
    gather r7, r5, r6
    .endm

    // r0: x, r1: y, r2: n, r3: m, [sp]: shift. Returns the bitwise or in r0.
    begin bn_add_scaled
    mov r8, r2
    movs r7, #0
    lsrs r4, r2, #2
    lsls r4, r4, #4
    adds r4, r4, r0
    mov r9, r4              // the end of the fours
    ldr r2, [sp, #36]
    b add_fours
add_four:
    add_products
    add_products
add_fours:
    cmp r0, r9
    bne add_four
    mov r4, r8
    lsls r4, r4, #30
    lsrs r4, r4, #28
    add r9, r4
    b add_rest
add_one:
    ldm r1!, {r4}
    add_product r4, 0
    stm r0!, {r4}
    gather r7, r4, r6
add_rest:
    cmp r0, r9
    bne add_one
    movs r0, r7
    end bn_add_scaled, 0

    // \gamma becomes the product, \x the square, which is added to r8.
    .macro times_gamma x, gamma
    muls \gamma, \x
    muls \x, \x
    add r8, \x
    .endm

    // r9: the greatest |y| so far, r10: twice that. \y: lost
    .macro compare_size y, name
    add \y, r9
    cmp \y, r10
    bhi \name\()_greater
\name:
    .endm

    .macro greater_size y, name
\name\()_greater:
    mov r4, r9
    subs \y, \y, r4
    asrs r4, \y, #31
    adds \y, \y, r4
    eors \y, r4
    mov r9, \y
    adds \y, \y, \y
    mov r10, \y
    b \name
    .endm

    // Two elements: gamma comes in pairs. 24 cycles
    .macro gamma_pair first, second
    ldm r0!, {r4, r5}
    ldm r2!, {r7}
    asrs r4, r4, r3
    asrs r5, r5, r3
    sxth r6, r7
    asrs r7, r7, #16
    times_gamma r4, r6
    times_gamma r5, r7
    stm r1!, {r6, r7}
    compare_size r6, \first
    compare_size r7, \second
    .endm

    // r0: x, r1: y, r2: gamma, r3: n, [sp]: shift, squares
    begin bn_apply_gamma
    movs r5, #0
    mov r8, r5
    mov r9, r5
    mov r10, r5
    lsls r4, r3, #30
    lsrs r4, r4, #28
    mov r12, r4             // bytes of the rest
    lsrs r5, r3, #2
    lsls r5, r5, #4
    adds r5, r5, r1
    mov r11, r5             // the end of the fours
    ldr r3, [sp, #36]
    b gamma_fours
gamma_four:
    gamma_pair gamma_first, gamma_second
    gamma_pair gamma_third, gamma_fourth
gamma_fours:
    cmp r1, r11
    bne gamma_four
    add r11, r12
    b gamma_rest
gamma_one:
    ldm r0!, {r4}
    asrs r4, r4, r3
    ldrh r6, [r2]
    adds r2, #2
    sxth r6, r6
    times_gamma r4, r6
    stm r1!, {r6}
    compare_size r6, gamma_single
gamma_rest:
    cmp r1, r11
    bne gamma_one
    ldr r1, [sp, #40]
    mov r2, r8
    str r2, [r1]
    mov r0, r9
    end bn_apply_gamma, 0
    greater_size r6, gamma_first
    greater_size r7, gamma_second
    greater_size r6, gamma_third
    greater_size r7, gamma_fourth
    greater_size r6, gamma_single

    // \value = RSHR(\value, e). Only ±2^(bits−1) can be out of range. Shifted to the top of the word it is −2^31, the
    // one number that overflows when it is negated.
    .macro round value, offset, name
    adds \value, \value, r3
    asrs \value, \value, r2
    movs r7, \value
    lsls r7, r7, r6
    rsbs r7, r7, #0
    bvs \name\()_clamp
\name:
    strb \value, [r1, #\offset]
    .endm

    // ±2^(bits−1) becomes ±(2^(bits−1) − 1).
    .macro round_clamp value, name
\name\()_clamp:
    asrs r7, \value, #31
    subs \value, #1
    subs \value, \value, r7
    subs \value, \value, r7
    b \name
    .endm

    // r0: x, r1: codes, r2: n, r3: e, [sp]: bits
    begin bn_round
    mov r8, r2
    movs r2, r3             // r2: e
    movs r3, #1
    lsls r3, r3, r2
    lsrs r3, r3, #1         // r3: half of 2^e
    ldr r4, [sp, #36]
    movs r6, #32
    subs r6, r6, r4         // r6: from the code's top to the word's
    mov r4, r8
    lsrs r4, r4, #1
    beq round_rest
    lsls r4, r4, #1
    adds r4, r4, r1
    mov r9, r4              // the end of the pairs
round_two:
    ldm r0!, {r4, r5}
    round r4, 0, round_first
    round r5, 1, round_second
    adds r1, #2
    cmp r1, r9
    bne round_two
round_rest:
    mov r4, r8
    lsrs r4, r4, #1
    bcc round_done
    ldr r4, [r0]
    round r4, 0, round_last
round_done:
    end bn_round, 0
    round_clamp r4, round_first
    round_clamp r5, round_second
    round_clamp r4, round_last

    // Four elements, 21 cycles
    .macro round_four offset
    ldm r0!, {r4-r7}
    adds r4, r4, r3
    asrs r4, r4, r2
    strb r4, [r1, #\offset]
    adds r5, r5, r3
    asrs r5, r5, r2
    strb r5, [r1, #\offset + 1]
    adds r6, r6, r3
    asrs r6, r6, r2
    strb r6, [r1, #\offset + 2]
    adds r7, r7, r3
    asrs r7, r7, r2
    strb r7, [r1, #\offset + 3]
    .endm

    // r0: x, r1: codes, r2: n, r3: e
    begin bn_round_within
    lsrs r4, r2, #3
    lsls r4, r4, #3
    adds r4, r4, r1
    mov r8, r4              // the end of the eights
    adds r2, r2, r1
    mov r9, r2              // the end
    movs r2, r3             // r2: e
    movs r3, #1
    lsls r3, r3, r2
    lsrs r3, r3, #1         // r3: half of 2^e
    b within_eights
within_eight:
    round_four 0
    round_four 4
    adds r1, #8
within_eights:
    cmp r1, r8
    bne within_eight
    b within_rest
within_one:
    ldm r0!, {r4}
    adds r4, r4, r3
    asrs r4, r4, r2
    strb r4, [r1]
    adds r1, #1
within_rest:
    cmp r1, r9
    bne within_one
    end bn_round_within, 0

    // \gate: r4. An element, 14 cycles if it is above 0, and if not, 9 with what follows at the end.
    .macro gate name
    ldr r4, [r0]
    cmp r4, #0
    ble \name\()_closed
    muls r4, r4
    lsrs r4, r4, r3
    ldr r5, [r0, r1]
    muls r4, r5
    stm r0!, {r4}
    gather r2, r4, r5
\name:
    .endm

    .macro closed_gate name
\name\()_closed:
    stm r0!, {r7}
    b \name
    .endm

    // r0: gate, r1: up, r2: n, r3: shift. Returns the bitwise or in r0.
    leaf bn_gate
    subs r1, r1, r0
    lsls r6, r2, #2
    adds r6, r6, r0
    push {r6}               // the end
    lsrs r6, r2, #2
    lsls r6, r6, #4
    adds r6, r6, r0         // the end of the fours
    movs r2, #0
    movs r7, #0
    b gate_fours
gate_four:
    gate gate_first
    gate gate_second
    gate gate_third
    gate gate_fourth
gate_fours:
    cmp r0, r6
    bne gate_four
    pop {r6}
    b gate_rest
gate_one:
    gate gate_single
gate_rest:
    cmp r0, r6
    bne gate_one
    movs r0, r2
    end_leaf bn_gate
    closed_gate gate_first
    closed_gate gate_second
    closed_gate gate_third
    closed_gate gate_fourth
    closed_gate gate_single
    // If \value has more than \half bits: r5 += \half, and \value loses its lowest \half bits.
    .macro bits_above value, half, name
    lsrs r6, \value, #\half
    beq \name
    adds r5, #\half
    movs \value, r6
\name:
    .endm

    // \value = RSHR(\value, r2) as in bn_round, stored at \offset. r6: half of 2^r2, r7: lost, [sp]: from the code's
    // top to the word's.
    .macro quantize value, offset, name
    adds \value, \value, r6
    asrs \value, \value, r2
    movs r7, \value
    lsls r7, r7, r1
    rsbs r7, r7, #0
    bvs \name\()_clamp
\name:
    strb \value, [r3, #\offset]
    .endm

    // r0: x, r1: n, r2: bits, r3: codes. Returns the exponent. Heads are short: 18 cycles an element and 75 more.
    leaf bn_quantize
    push {r0}
    lsls r1, r1, #2
    adds r1, r1, r0             // the end of x
    movs r4, #0
quantize_magnitudes:
    ldm r0!, {r5, r6}
    gather r4, r5, r7
    gather r4, r6, r7
    cmp r0, r1
    bne quantize_magnitudes
    movs r5, #0
    bits_above r4, 16, quantize_16
    bits_above r4, 8, quantize_8
    bits_above r4, 4, quantize_4
    bits_above r4, 2, quantize_2
    bits_above r4, 1, quantize_1
    adds r5, r5, r4             // the bits
    movs r4, #32
    subs r4, r4, r2
    subs r2, #1
    subs r2, r5, r2             // the exponent
    bpl quantize_begin
    movs r2, #0
quantize_begin:
    pop {r0}
    push {r2}
    mov r12, r1
    movs r1, r4                 // from the code's top to the word's
    movs r6, #1
    lsls r6, r6, r2
    lsrs r6, r6, #1             // half of 2^r2
quantize_two:
    ldm r0!, {r4, r5}
    quantize r4, 0, quantize_first
    quantize r5, 1, quantize_second
    adds r3, #2
    cmp r0, r12
    bne quantize_two
    pop {r0}
    end_leaf bn_quantize
    round_clamp r4, quantize_first
    round_clamp r5, quantize_second
