// vector.h for Cortex-M0 and M0+, in Thumb-1: four elements at a time, then the rest one by one. Cycles for each
// element of four: magnitudes 6, scale 7.3 (6 without a shift down), weigh_by_gamma 19, round 11, relu 7,
// gate and add_clamped 10.

#include "thumb1.inc"

    // \value = |value|; \sign: lost
    .macro absolute value, sign
    asrs \sign, \value, #31
    adds \value, \value, \sign
    eors \value, \sign
    .endm

    // all |= |value|
    .macro gather all, value, sign
    absolute \value, \sign
    orrs \all, \value
    .endm

    // r0: x, r1: n. Returns the or in r0.
    begin bn_magnitudes
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
    end bn_magnitudes, 0

    .macro scale value
    asrs \value, \value, r3
    multiply \value
    .endm

    .macro multiply value
    muls \value, r2
    add \value, r8
    asrs \value, \value, r1
    .endm

    // r0: x, r1: n, r2: m, r3: down, [sp]: post
    begin bn_scale
    mov r9, r1
    ldr r1, [sp, #36]
    // r8 = half of 2^post
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

    // \value: x, then y; \gamma: lost
    .macro weigh value, gamma
    asrs \value, \value, r3
    movs r7, \value
    muls r7, r7
    lsrs r7, r7, r4
    add r8, r7
    muls \value, \gamma
    movs \gamma, \value
    asrs r7, \gamma, #31
    adds \gamma, \gamma, r7
    eors \gamma, r7
    mov r7, r9
    orrs r7, \gamma
    mov r9, r7
    .endm

    // r0: x, r1: y, r2: gamma, r3: n, [sp]: shifts, squares. Two elements at a time: gamma comes in pairs.
    begin bn_weigh_by_gamma
    mov r10, r3
    ldr r4, [sp, #36]
    ldm r4, {r3, r4}        // down, t
    movs r5, #0
    mov r8, r5              // squares
    mov r9, r5              // magnitudes
    mov r5, r10
    lsrs r5, r5, #1
    beq weigh_rest
    lsls r5, r5, #3
    adds r5, r5, r1
    mov r11, r5             // the end of the pairs
weigh_two:
    ldr r5, [r0]
    ldr r6, [r2]
    sxth r6, r6
    weigh r5, r6
    str r5, [r1]
    ldr r5, [r0, #4]
    ldm r2!, {r6}
    asrs r6, r6, #16
    weigh r5, r6
    str r5, [r1, #4]
    adds r0, #8
    adds r1, #8
    cmp r1, r11
    bne weigh_two
weigh_rest:
    mov r5, r10
    lsrs r5, r5, #1
    bcc weigh_done
    ldr r5, [r0]
    ldrh r6, [r2]
    sxth r6, r6
    weigh r5, r6
    str r5, [r1]
weigh_done:
    ldr r1, [sp, #40]
    mov r2, r8
    str r2, [r1]
    mov r0, r9
    end bn_weigh_by_gamma, 0

    // \value = RSHR(value, e), in range but for the one number, 2^(bits−1) or less that, which alone
    // overflows when what is shifted to the top is negated.
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

    // Its size is one too large.
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

    .macro relu value
    asrs r2, \value, #31
    bics \value, r2
    orrs r3, \value
    .endm

    // r0: x, r1: n. Returns the or in r0.
    begin bn_relu
    movs r3, #0
    subs r1, #4
    blo relu_rest
relu_four:
    ldm r0!, {r4-r7}
    relu r4
    relu r5
    relu r6
    relu r7
    subs r0, #16
    stm r0!, {r4-r7}
    subs r1, #4
    bhs relu_four
relu_rest:
    adds r1, #4
    beq relu_done
relu_one:
    ldr r4, [r0]
    relu r4
    stm r0!, {r4}
    subs r1, #1
    bne relu_one
relu_done:
    movs r0, r3
    end bn_relu, 0

    // r0: gate, r1: up, r2: n
    begin bn_gate
    lsrs r3, r2, #1
    beq gate_rest
gate_two:
    ldm r0!, {r4, r5}
    subs r0, #8
    ldm r1!, {r6, r7}
    muls r4, r4
    muls r4, r6
    muls r5, r5
    muls r5, r7
    stm r0!, {r4, r5}
    subs r3, #1
    bne gate_two
gate_rest:
    lsrs r2, r2, #1
    bcc gate_done
    ldr r4, [r0]
    ldr r6, [r1]
    muls r4, r4
    muls r4, r6
    str r4, [r0]
gate_done:
    end bn_gate, 0

    // \x += \y. r3: 2^29. What is within ±2^29 has its upper two bits clear when 2^29 is added, but for +2^29 itself.
    .macro add_clamped x, y, name
    adds \x, \x, \y
    adds \y, \x, r3
    lsrs \y, \y, #30
    bne \name\()_clamp
\name:
    .endm

    .macro clamp x, name
\name\()_clamp:
    asrs \x, \x, #31         // 0 or −1
    lsls \x, \x, #30         // 0 or −2^30
    adds \x, \x, r3          // ±2^29
    b \name
    .endm

    // r0: x, r1: y, r2: n
    begin bn_add_clamped
    movs r3, #1
    lsls r3, r3, #29
    lsrs r4, r2, #1
    beq add_rest
    lsls r4, r4, #3
    adds r4, r4, r0
    mov r8, r4              // the end of the pairs
add_two:
    ldm r0!, {r4, r5}
    subs r0, #8
    ldm r1!, {r6, r7}
    add_clamped r4, r6, add_first
    add_clamped r5, r7, add_second
    stm r0!, {r4, r5}
    cmp r0, r8
    bne add_two
add_rest:
    lsrs r2, r2, #1
    bcc add_done
    ldr r4, [r0]
    ldr r6, [r1]
    add_clamped r4, r6, add_last
    str r4, [r0]
add_done:
    end bn_add_clamped, 0
    clamp r4, add_first
    clamp r5, add_second
    clamp r4, add_last

    // r5 += \half if \value has more bits, which it then loses
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
