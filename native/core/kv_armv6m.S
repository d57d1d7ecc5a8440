// kv.h for Cortex-M0 and M0+, in Thumb-1: 27 cycles for the 8 codes of a word.

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
