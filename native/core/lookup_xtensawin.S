// lookup.h for Xtensa with register windows (ESP32, -S2, -S3), with no instruction that one of them lacks.
//
// A lookup is four instructions: load a byte of weights, scale it and add the table's address, load, add. So
// what is not a lookup must be rare. The offsets of loads take the place of a pointer into the weights, and
// all tables have words as entries: for a pair of tokens as lookup.h says, for one token with the sums of two
// groups, that of the first in the low half. If the number of groups is odd, the first table has only the
// first group.
//
// Nor has one token's table the bias of lookup.h, which would have to be taken off again: entries are signed.
// A low half must not be negative, because it is computed together with the high half; it gets a bias, and
// the high half the opposite one. Nothing but these functions knows all that.
//
// a0 and a1 belong to the register windows. Between a load and the use of what it loads, which would wait,
// stand other instructions. The code holds no data: on an ESP32 no byte of it can be loaded.

    .text
    .begin no-transform

    .macro begin name
    .balign 4
    .global \name
    .type \name, @function
\name:
    entry a1, 32
    .endm

    .macro end name
    retw.n
    .size \name, . - \name
    .endm

// --- the sums of rows ---

    .equ AT_ONCE, 26            // tables, at most

    // The entries of a weight word, `offset` from \weights: four rows of one group. a2: the table.
    .macro look_up weights, offset, load, half, r0, r1, r2, r3
    l8ui a12, \weights, \offset
    l8ui a13, \weights, \offset + 1
    l8ui a14, \weights, \offset + 2
    l8ui a15, \weights, \offset + 3
    addx4 a12, a12, a2
    addx4 a13, a13, a2
    addx4 a14, a14, a2
    addx4 a15, a15, a2
    \load \r0, a12, \half
    \load \r1, a13, \half
    \load \r2, a14, \half
    \load \r3, a15, \half
    .endm

    // a8-a11 are the sums.
    .macro add_entries
    add.n a8, a8, a12
    add.n a9, a9, a13
    add.n a10, a10, a14
    add.n a11, a11, a15
    .endm

    .macro group offset, load, half
    look_up a3, \offset, \load, \half, a12, a13, a14, a15
    add_entries
    .endm

    // All groups that a stretch can have.
    .macro groups_of_one
    .set weights, 0
    .rept AT_ONCE
    group weights, l16si, 0
    group weights + 4, l16si, 2
    addmi a2, a2, 1024
    .set weights, weights + 8
    .endr
    .endm
    .equ ONE_WEIGHTS, 8 * AT_ONCE
    .equ ONE_GROUP, 44          // bytes of code
    .equ NEXT_TABLE, 3

    .macro groups_of_pair
    .set weights, 0
    .rept AT_ONCE
    group weights, l32i.n, 0
    addmi a2, a2, 1024
    .set weights, weights + 4
    .endr
    .endm
    .equ PAIR_WEIGHTS, 4 * AT_ONCE
    .equ PAIR_GROUP, 40

    // a2: the stretch, a3: weights, a4: out, a5: blocks of rows, at least one.
    //
    // There is no loop over the groups. The entries of a block's first group become its sums; the code for as
    // many as a stretch can have stands in a row, and the block enters it where as many are left as it has.
    // a3 goes to where the weights of all would begin, a6 bytes before those of the first. a7: where to go
    // after the first group, which is into that row or, if the sums go on from `out`, to what adds that.
    // [a1]: the tables; bytes of weights from one block to the next; where to enter the row.
    .macro rows name, load, groups
    begin \name
    mov.n a7, a0
    call0 \name\()_prepare     // leaves in a0 where this goes on
    l32i.n a12, a4, 0
    l32i.n a13, a4, 4
    l32i.n a14, a4, 8
    l32i.n a15, a4, 12
    add_entries
    l32i.n a12, a1, 8
    jx a12
    \groups
    s32i.n a8, a4, 0
    s32i.n a9, a4, 4
    s32i.n a10, a4, 8
    s32i.n a11, a4, 12
    l32i.n a12, a1, 4
    addi a4, a4, 16
    add.n a3, a3, a12
    beq a4, a5, \name\()_done
\name\()_block:
    l32i.n a2, a1, 0
    add.n a15, a3, a6
    look_up a15, 0, \load, 0, a8, a9, a10, a11
    jx a7
\name\()_done:
    retw.n
    .balign 4
\name\()_prepare:
    .endm
    .equ ADD_OUT, 21            // bytes of code before the groups

    // The registers of `rows`, and a9: groups. \all: bytes of code of all groups.
    .macro prepare weights, group, all
    l32i.n a8, a2, 0            // tables
    l32i.n a9, a2, 4            // groups
    l32i.n a10, a2, 8           // skip
    l32i.n a13, a2, 12          // start
    s32i.n a8, a1, 0
    slli a11, a9, 2
    add.n a10, a10, a11
    s32i.n a10, a1, 4
    slli a5, a5, 4
    add.n a5, a5, a4            // end of out
    movi a6, \weights
    sub a6, a6, a11
    sub a3, a3, a6
    mov.n a12, a0
    mov.n a0, a7
    // the groups after the first, from the end
    addmi a7, a12, (ADD_OUT + \all + \group + 128) & -256
    addi a7, a7, ((ADD_OUT + \all + \group + 128) & 255) - 128
    movi.n a14, \group
    mull a14, a14, a9
    sub a7, a7, a14
    .endm

    // a9: tables. The code goes on to the next table as often.
    .macro enter name
    addx2 a9, a9, a9
    sub a7, a7, a9
    s32i.n a7, a1, 8
    addi.n a13, a13, -1         // BN_FROM_OUT
    moveqz a7, a12, a13
    j \name\()_block
    .size \name, . - \name
    .endm

    rows bn_add_rows, l16si, groups_of_one
    prepare ONE_WEIGHTS, ONE_GROUP, AT_ONCE * (2 * ONE_GROUP + NEXT_TABLE)
    addi.n a9, a9, 1
    srli a9, a9, 1
    enter bn_add_rows

    rows bn_add_rows_pair, l32i.n, groups_of_pair
    prepare PAIR_WEIGHTS, PAIR_GROUP, AT_ONCE * (PAIR_GROUP + NEXT_TABLE)
    enter bn_add_rows_pair

    // a2: pairs, a3: first, a4: second, a5: blocks, at least one
    begin bn_take_apart
take_block_apart:
    .irp i, 0, 4, 8, 12
    l32i.n a8, a2, \i
    sext a9, a8, 15
    sub a8, a8, a9
    srai a8, a8, 16
    s32i.n a9, a3, \i
    s32i.n a8, a4, \i
    .endr
    addi a2, a2, 16
    addi a3, a3, 16
    addi a4, a4, 16
    addi.n a5, a5, -1
    bnez a5, take_block_apart
    end bn_take_apart

// --- tables ---

    // \register = code j of a3, plus that of a4 times 2^16, all times 2^double. \other is lost.
    .macro code_pair j, register, double, other=a15
    l8ui \register, a3, \j
    l8ui \other, a4, \j
    sext \register, \register, 7
    slli \other, \other, 24
    srai \other, \other, 8 - \double
    .if \double
    addx2 \register, \register, \other
    .else
    add.n \register, \register, \other
    .endif
    .endm

    // [a1]: columns from the second group of a table to the next table's; bytes from the codes of the second
    // group to those of the first; the bias of this table, and of the others
    .equ STEP, 0
    .equ BACK, 4
    .equ BIAS, 8
    .equ NEXT_BIAS, 12

    // a2: tables, a3: codes, a4: groups. Leaves a3 and a4: the codes of both groups of the first table, which
    // are the same, and without a bias, if the groups are odd; a5: tables.
    .macro two_groups columns
    movi.n a8, 2 * \columns
    s32i.n a8, a1, STEP
    movi.n a8, -\columns
    s32i.n a8, a1, BACK
    movi a8, 1024               // BN_TABLE_BIAS
    slli a9, a8, 16
    sub a8, a8, a9
    s32i.n a8, a1, NEXT_BIAS
    addi.n a5, a4, 1
    srli a5, a5, 1
    extui a9, a4, 0, 1
    movi.n a10, 0
    movnez a8, a10, a9
    s32i.n a8, a1, BIAS
    mov.n a4, a3
    addi.n a8, a3, \columns
    moveqz a4, a8, a9
    .endm

    // a2: tables, a3 and a4: the codes of both tokens, a5: groups, each of which has a table.
    .macro two_tokens columns
    movi.n a8, \columns
    s32i.n a8, a1, STEP
    sub a8, a3, a4
    s32i.n a8, a1, BACK
    movi.n a8, 0
    s32i.n a8, a1, BIAS
    s32i.n a8, a1, NEXT_BIAS
    .endm

    .macro next_codes temporary
    l32i.n \temporary, a1, STEP
    l32i.n a3, a1, BACK
    add.n a4, a4, \temporary
    add.n a3, a3, a4
    .endm

    // A word of a table, from a2 on.
    .macro store register
    .if position < 64
    s32i.n \register, a2, position
    .else
    s32i \register, a2, position
    .endif
    .set position, position + 4
    .endm

    // Four words, then what their like in the next four have more.
    .macro ruler_step by
    store a8
    store a9
    store a10
    store a11
    .ifnb \by
    add.n a8, a8, \by
    add.n a9, a9, \by
    add.n a10, a10, \by
    add.n a11, a11, \by
    .endif
    .endm

    .macro ruler_8
    ruler_step a6
    ruler_step a7
    ruler_step a6
    ruler_step a12
    ruler_step a6
    ruler_step a7
    ruler_step a6
    .endm

    // \register is what a bit adds, and becomes what is due when it goes on: less \lower, what all lower bits
    // from bit 2 on add. \all: these and this one.
    .macro ruler_register register, lower, all
    add.n \all, \lower, \register
    sub \register, \register, \lower
    .endm

    begin bn_build_binary_pair
    two_tokens 8
    j build_binary
    .size bn_build_binary_pair, . - bn_build_binary_pair

    // As in lookup.c: a8-a11 are the words for bits 0 and 1, and from one four to the next the lowest bit that
    // becomes 1 counts. A table is written in two halves, which a5 counts.
    begin bn_build_binary
    two_groups 8
build_binary:
    add.n a5, a5, a5
binary_table:
    code_pair 0, a9, 1
    code_pair 1, a10, 1
    code_pair 2, a6, 1
    code_pair 3, a7, 1
    ruler_register a7, a6, a8
    code_pair 4, a12, 1
    ruler_register a12, a8, a11
    code_pair 5, a13, 1
    ruler_register a13, a11, a8
    code_pair 6, a14, 1
    ruler_register a14, a8, a11
    code_pair 7, a15, 1, a8
    ruler_register a15, a11, a8
    next_codes a11
    // the first word: the bias less half of what all bits add
    l32i.n a11, a1, BIAS
    add.n a8, a8, a9
    add.n a8, a8, a10
    srai a8, a8, 1
    sub a8, a11, a8
    l32i.n a11, a1, NEXT_BIAS
    s32i.n a11, a1, BIAS
    add.n a9, a8, a9
    add.n a11, a9, a10
    add.n a10, a8, a10
binary_half:
    .set position, 0
    ruler_8
    ruler_step a13
    ruler_8
    ruler_step a14
    ruler_8
    ruler_step a13
    ruler_8
    ruler_step
    addmi a2, a2, 512
    addi.n a5, a5, -1
    bbci a5, 0, binary_table_end
    add.n a8, a8, a15
    add.n a9, a9, a15
    add.n a10, a10, a15
    add.n a11, a11, a15
    j binary_half
binary_table_end:
    bnez a5, binary_table
    end bn_build_binary

    // Words where the last digit that is not 2 is 0 (a8) and 1 (a9), for each value of the lower digits.
    // a10, a14, a15, a7: what digits 0 to 3 add when they go on and all lower ones go back to 0.
    .macro words_1
    store a8
    store a9
    .endm

    .macro words_of lower, by
    .rept 2
    \lower
    add.n a8, a8, \by
    add.n a9, a9, \by
    .endr
    \lower
    .endm

    .macro words_3
    words_of words_1, a10
    .endm

    .macro words_9
    words_of words_3, a14
    .endm

    .macro words_27
    words_of words_9, a15
    .endm

    .macro words_81
    words_of words_27, a7
    .endm

    // a6: the word where this digit and the lower ones are 0; then, where this one is 2
    .macro digit code
    mov.n a8, a6
    add.n a9, a6, \code
    addx2 a6, \code, a6
    .endm

    begin bn_build_ternary_pair
    two_tokens 5
    j ternary_table
    .size bn_build_ternary_pair, . - bn_build_ternary_pair

    // In the order of SPEC.md 1.2.
    begin bn_build_ternary
    two_groups 5
ternary_table:
    code_pair 0, a10, 0
    code_pair 1, a11, 0
    code_pair 2, a12, 0
    code_pair 3, a13, 0
    code_pair 4, a14, 0
    next_codes a15
    // the first word: the bias less all codes, because digit 0 is weight −1
    l32i.n a6, a1, BIAS
    l32i.n a15, a1, NEXT_BIAS
    s32i.n a15, a1, BIAS
    add.n a15, a10, a11
    add.n a7, a15, a12
    sub a6, a6, a7
    sub a6, a6, a13
    sub a6, a6, a14
    add.n a7, a7, a7
    sub a7, a13, a7
    add.n a15, a15, a15
    sub a15, a12, a15
    digit a14
    add.n a14, a10, a10
    sub a14, a11, a14
    .set position, 0
    words_81
    digit a13
    words_27
    digit a12
    words_9
    digit a11
    words_3
    store a6
    add.n a6, a6, a10
    store a6
    add.n a6, a6, a10
    store a6
    addmi a2, a2, 1024
    addi.n a5, a5, -1
    bnez a5, ternary_table
    end bn_build_ternary

    .end no-transform
