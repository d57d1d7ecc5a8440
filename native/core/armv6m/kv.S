// kv.h for Cortex-M0 and M0+, in Thumb-1. Cycles for each row: score_rows 34.5 if a head has one word, softmax 17.5,
// sum_rows 22 for each word. rope: 11 for each element.

#include "thumb1.inc"

    // \sum += \factor times two codes of \word: those at \right and 16 bits above. r7: lost; \mask: 0x000F000F.
    .macro add_pair sum, word, mask, right, factor
    lsrs r7, \word, #\right
    ands r7, \mask
    muls r7, \factor
    add \sum, r7
    .endm

    // Multiplies one word of k in one row. r0: 4 bytes before the word; r2: mask; r3-r6: the query's pairs for this word;
    // r9: where the score is; r11: size of a row. In the first pass a score begins with r10, in the others it goes on from
    // what the pass before has stored. The last pass is that of the row's first word, because the word before that holds
    // the exponent; there r12 is the query's shift and lr the least score so far.
    .macro score_row name, is_first, is_last
    ldr r1, [r0, #4]
    mov r7, r2
    ands r7, r1
    muls r7, r3
    .if \is_first
    add r7, r10
    .endif
    mov r8, r7
    add_pair r8, r1, r2, 4, r4
    add_pair r8, r1, r2, 8, r5
    lsrs r7, r1, #12
    ands r7, r2
    muls r7, r6
    add r7, r8
    .if !\is_first
    mov r1, r9
    ldr r1, [r1]
    adds r7, r7, r1
    .endif
    .if \is_last
    ldrb r1, [r0]
    add r1, r12
    asrs r7, r1             // by r1's lowest byte; 32 and more leave only the sign, as 31 does
    cmp r7, lr
    bge \name
    mov lr, r7
\name:
    .endif
    mov r1, r9
    stm r1!, {r7}
    mov r9, r1
    add r0, r11
    .endm

    .macro score_pass name, is_first, is_last
    odd_rows \name
\name:
    score_row \name\()_a, \is_first, \is_last
\name\()_odd:
    score_row \name\()_b, \is_first, \is_last
    .if \is_last
    ldr r7, [sp, #12]
    cmp r1, r7
    .else
    cmp r1, lr
    .endif
    bne \name
    .endm

    // Rows are taken two at a time. If their number is odd, enters the loop at its second half. r1, r7: lost.
    .macro odd_rows name
    ldr r7, [sp, #12]
    ldr r1, [sp, #0]
    subs r7, r7, r1
    lsls r7, r7, #30
    bcs \name\()_odd
    .endm

    // r0: rows, r1: query, r2: scores. Returns the least score. A pass for each word of k, from the last to the first.
    begin bn_score_rows
    ldm r0!, {r3-r6}        // first row, its size, rows, words
    mov r11, r4
    lsls r5, r5, #2
    adds r5, r5, r2
    ldm r1!, {r4, r7}       // start, which is not 0, and shift
    mov r10, r4
    mov r12, r7
    lsls r4, r6, #2
    adds r3, r3, r4
    lsls r4, r6, #4
    adds r4, r4, r1
    push {r2-r6}            // [sp]: scores, the last word's place in the row, the end of its pairs, the end of the
                            // scores, words to go
    movs r2, #15
    lsls r3, r2, #16
    orrs r2, r3
score_word:
    ldr r1, [sp, #0]
    mov r9, r1
    ldr r0, [sp, #4]
    subs r0, #4
    str r0, [sp, #4]
    ldr r1, [sp, #8]
    subs r1, #16
    str r1, [sp, #8]
    ldm r1!, {r3-r6}
    ldr r1, [sp, #12]
    mov lr, r1
    mov r7, r10
    ldr r1, [sp, #16]
    subs r1, #1
    str r1, [sp, #16]
    beq score_last_word
    cmp r7, #0
    beq score_middle_word
    score_pass score_first, 1, 0
    movs r7, #0
    mov r10, r7             // begun
    b score_word
score_middle_word:
    score_pass score_middle, 0, 0
    b score_word
score_last_word:
    movs r1, #1
    lsls r1, r1, #31
    mvns r1, r1
    mov lr, r1
    cmp r7, #0
    bne score_only_word
    b score_last_of_many
score_only_word:
    score_pass score_only, 1, 1
    b score_done
score_last_of_many:
    score_pass score_last, 0, 1
score_done:
    mov r0, lr
    end bn_score_rows, 20

    // Replaces the score at r2 by the row's factor. r0: the row, r1: 0; r3, r7: lost.
    .macro softmax_row name
    ldr r3, [r2]
    subs r3, r3, r5
    cmp r3, r12
    bhs \name\()_far
    ldrb r3, [r4, r3]
    add r8, r3
    ldrb r7, [r0, #1]
    adds r7, r7, r6         // the carry is 0 now, and stays 0 if the shift is by 0
    lsrs r3, r7             // by the lowest byte
    adcs r3, r1             // rounds: plus the last bit that was shifted out
    add r10, r3
\name\()_done:
    add r0, r9
    stm r2!, {r3}
    .endm

    .macro far_row name
\name\()_far:
    movs r3, #0
    b \name\()_done
    .endm

    // r0: rows, r1: softmax, r2: scores
    begin bn_softmax
    push {r1}
    ldm r0, {r0, r3, r4}    // first row, its size, rows
    mov r9, r3
    lsls r4, r4, #2
    adds r3, r4, r2
    mov r11, r3             // the end of the scores
    movs r7, #0
    mov r8, r7              // Σ p
    mov r10, r7             // Σ w
    movs r7, #1
    lsls r7, r7, #9
    mov r12, r7             // BN_SOFTMAX_TABLE_SIZE
    lsls r4, r4, #30        // if the number of rows is odd, the loop is entered at its second half
    ldm r1!, {r4-r6}        // table, the least score, the greatest exponent
    movs r1, #0
    bcs softmax_odd
softmax_two:
    softmax_row softmax_first
softmax_odd:
    softmax_row softmax_second
    cmp r2, r11
    bne softmax_two
    ldr r0, [sp, #0]
    adds r0, #12
    mov r3, r8
    mov r4, r10
    stm r0!, {r3, r4}
    end bn_softmax, 4
    far_row softmax_first
    far_row softmax_second

    // r8-r11 += the codes of the word of v at r0, times \factor; then r0 goes on to the next row. r5: mask, r6: size of a
    // row; r2, r4: lost.
    .macro sum_row factor
    ldr r4, [r0]
    adds r0, r0, r6
    mov r2, r5
    ands r2, r4
    muls r2, \factor
    add r8, r2
    .irp pair, 9, 10, 11
    lsrs r2, r4, #(4 * (\pair - 8))
    ands r2, r5
    muls r2, \factor
    add r\pair, r2
    .endr
    .endm

    // sums[\low] and sums[\low + 4] += the halves of \pair. r2, r3, r4: lost.
    .macro take_apart pair, low
    mov r2, \pair
    uxth r3, r2
    ldr r4, [r7, #4 * \low]
    adds r3, r3, r4
    str r3, [r7, #4 * \low]
    lsrs r2, r2, #16
    ldr r4, [r7, #4 * \low + 16]
    adds r2, r2, r4
    str r2, [r7, #4 * \low + 16]
    .endm

    // r0: rows, r1: offset, r2: factors, r3: sums
    begin bn_sum_rows
    ldm r0!, {r4, r6, r7}   // first row, its size, rows
    adds r0, r4, r1
    movs r1, r2
    push {r3}
    movs r5, #15
    lsls r2, r5, #16
    orrs r5, r2
    mov lr, r7              // rows to go
sum_some:
    movs r2, #0
    mov r8, r2
    mov r9, r2
    mov r10, r2
    mov r11, r2
    mov r7, lr
    movs r3, #32            // BN_ROWS_PER_SUM
    cmp r7, r3
    bls sum_few
    movs r7, r3
sum_few:
    mov r3, lr
    subs r3, r3, r7
    mov lr, r3
    lsls r3, r7, #2
    adds r3, r3, r1
    mov r12, r3             // the end of these factors
    lsrs r7, r7, #1
    bcc sum_begin
    ldm r1!, {r3}
    sum_row r3
    b sum_begin
sum_two:
    ldm r1!, {r3, r7}
    sum_row r3
    sum_row r7
sum_begin:
    cmp r1, r12
    bne sum_two
    ldr r7, [sp, #0]
    take_apart r8, 0
    take_apart r9, 1
    take_apart r10, 2
    take_apart r11, 3
    mov r3, lr
    cmp r3, #0
    bne sum_some
    end bn_sum_rows, 4

    // r0: x, r1: heads, r2: head_dim, r3: angles
    begin bn_rope
    lsls r4, r2, #1
    muls r4, r1
    lsls r4, r4, #1
    adds r4, r4, r0
    mov r8, r4              // the end of x
    lsls r2, r2, #1         // bytes of half a head, and of the angles
    mov r9, r3
    adds r4, r3, r2
    mov r10, r4             // the end of the angles
rope_head:
    mov r3, r9
rope_pair:
    ldr r4, [r0]
    ldr r5, [r0, r2]
    ldm r3!, {r7}
    sxth r6, r7             // cosine
    asrs r7, r7, #16        // sine
    movs r1, r4
    muls r1, r6
    muls r4, r7
    muls r6, r5
    muls r7, r5
    subs r1, r1, r7
    adds r4, r4, r6
    str r4, [r0, r2]
    stm r0!, {r1}
    cmp r3, r10
    bne rope_pair
    adds r0, r0, r2
    cmp r0, r8
    bne rope_head
    end bn_rope, 0
