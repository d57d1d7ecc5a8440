// kv.h for Cortex-M0 and M0+, in Thumb-1. Cycles: for the 8 codes of a word 33 (dot_rows) and 28 (weigh_rows), for each
// element of softmax 19 (scale_scores), 22 (exponentials) and 15 (value_weights).

#include "thumb1.inc"

    // r0: column, r1: pairs, r2: scores
    begin bn_dot_rows
    ldm r0, {r0, r4, r5}    // first row, size of a row, rows
    mov r9, r4
    lsls r5, r5, #2
    beq dot_done
    adds r5, r5, r2
    mov r10, r5             // the end of the scores
    ldm r1!, {r3-r6}        // pairs
    movs r7, #15
    lsls r1, r7, #16
    orrs r7, r1
    mov r8, r7              // 0x000F000F
    movs r7, #1
    lsls r7, r7, #15
    mov r11, r7             // rounds the lower half away
    mov r12, r2             // scores
dot_row:
    ldr r1, [r0]
    add r0, r9
    mov r2, r8
    ands r2, r1
    muls r2, r3
    .irp pair, r4, r5, r6
    lsrs r1, r1, #4
    mov r7, r8
    ands r7, r1
    muls r7, \pair
    adds r2, r2, r7
    .endr
    add r2, r11
    asrs r2, r2, #16
    mov r7, r12
    ldr r1, [r7]
    adds r2, r2, r1
    stm r7!, {r2}
    mov r12, r7
    cmp r7, r10
    bne dot_row
dot_done:
    end bn_dot_rows, 0

    // r0: column, r1: weights, r2: sums
    begin bn_weigh_rows
    push {r2}
    ldm r0, {r0, r6, r7}    // first row, size of a row, rows
    lsls r7, r7, #2
    adds r7, r7, r1
    mov r12, r7             // the end of the weights
    movs r5, #15
    lsls r2, r5, #16
    orrs r5, r2             // 0x000F000F
    movs r2, #0
    mov r8, r2
    mov r9, r2
    mov r10, r2
    mov r11, r2
    b weigh_rows_begin
weigh_row:
    ldm r1!, {r3}
    ldr r4, [r0]
    adds r0, r0, r6
    movs r2, r5
    ands r2, r4
    muls r2, r3
    add r8, r2
    .irp sum, r9, r10, r11
    lsrs r4, r4, #4
    movs r2, r5
    ands r2, r4
    muls r2, r3
    add \sum, r2
    .endr
weigh_rows_begin:
    cmp r1, r12
    bne weigh_row
    ldr r0, [sp]
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    stm r0!, {r4-r7}
    end bn_weigh_rows, 4

    // r0: exponents, r1: exponent of q, r2: scores. Returns the greatest in r0.
    begin bn_scale_scores
    ldm r0, {r0, r3, r7}    // first exponent, size of a row, rows
    lsls r7, r7, #2
    adds r7, r7, r2
    mov r8, r7              // the end of the scores
    movs r7, #1
    lsls r7, r7, #31        // the greatest so far
    movs r4, #0
score:
    ldr r5, [r2]
    ldrsb r6, [r0, r4]
    adds r0, r0, r3
    adds r6, r6, r1
    bpl score_up
    mvns r6, r6             // one less than how far down: the last step rounds
    asrs r5, r5, r6
    adds r5, #1
    asrs r5, r5, #1
score_compare:
    cmp r5, r7
    ble score_next
    movs r7, r5
score_next:
    stm r2!, {r5}
    cmp r2, r8
    bne score
    movs r0, r7
    end bn_scale_scores, 0
score_up:
    cmp r6, #14
    ble score_shift
    movs r6, #14
score_shift:
    lsls r5, r5, r6
    b score_compare

    // r0: scores, r1: rows, r2: greatest. Returns the sum in r0.
    begin bn_exponentials
    mov r9, r2
    lsls r1, r1, #2
    adds r1, r1, r0
    mov r10, r1             // the end of the scores
    movs r5, #175           // 1406 = 175·8 + 6
    lsls r5, r5, #3
    adds r5, #6
    movs r6, #5502 >> 6     // 85: 5502 = 85·64 + 62
    lsls r6, r6, #6
    adds r6, #62
    movs r7, #1
    lsls r7, r7, #15
    movs r4, #0             // the sum
exponential:
    ldr r2, [r0]
    mov r1, r9
    subs r1, r1, r2
    lsrs r3, r1, #8
    cmp r3, #14
    bhi exponential_zero
    uxtb r1, r1
    movs r2, r1
    muls r2, r5
    lsrs r2, r2, #8
    subs r2, r6, r2
    muls r2, r1
    lsrs r2, r2, #6
    subs r2, r7, r2
    lsrs r2, r2, r3
    adds r4, r4, r2
exponential_store:
    stm r0!, {r2}
    cmp r0, r10
    bne exponential
    movs r0, r4
    end bn_exponentials, 0
exponential_zero:
    movs r2, #0
    b exponential_store

    // r0: exponents, r1: reciprocal, r2: shift, r3: scores. Returns the sum in r0.
    begin bn_value_weights
    ldm r0, {r0, r4, r7}    // first exponent, size of a row, rows
    lsls r7, r7, #2
    adds r7, r7, r3
    mov r8, r7              // the end of the scores
    mov r9, r2
    movs r7, #0             // the sum
    movs r2, #0
value_weight:
    ldr r5, [r3]
    ldrsb r6, [r0, r2]
    adds r0, r0, r4
    muls r5, r1
    rsbs r6, r6, #0
    add r6, r9
    lsrs r5, r5, r6
    adds r7, r7, r5
    stm r3!, {r5}
    cmp r3, r8
    bne value_weight
    movs r0, r7
    end bn_value_weights, 0
