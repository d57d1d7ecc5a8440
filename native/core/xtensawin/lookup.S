// lookup.h for Xtensa with register windows (ESP32, -S2, -S3), with no instruction that one of them lacks.
//
// A lookup is four instructions: load a byte of weights, scale it and add the table's address, load, add. So
// there should be few instructions beside them. Offsets in the loads take the place of a pointer into the weights,
// and a table serves several groups: it has 256 entries of 8 bytes, each with the sums of four groups of one token,
// or of two groups of a pair of tokens. An entry is computed as two words, each of two groups or, as in lookup.h, of
// two tokens.
//
// Tables for one token do not have the bias of lookup.h, which would have to be subtracted again: their entries
// are signed. A low half must not be negative, because it is computed together with the high half, so it gets a
// bias, and the high half the opposite one. If the number of groups is odd, the one that has no other in its word is
// a low half without a bias. No other code knows about all this.
//
// A row begins with group 0, whose sums are in the last table; from there on it goes backwards through the groups
// and the tables. So it always begins and ends at the same places in the code, and only the last table may have
// fewer groups than it has room for. If it has only two, they share a word:
//
//     from byte of an entry    0        2    4    6
//     one token                4 or 0   1    2    3    and 4·k in table k
//     pair of tokens           2 or 0        1         and 2·k
//
// a1 belongs to the register windows, and so does a0 whenever a function returns. A load is followed by other
// instructions before its result is used, which would otherwise wait for it. The code contains no data, because on
// an ESP32 no byte of it can be loaded.

    .text
    .begin no-transform

    .macro begin name, frame=32
    .balign 4
    .global \name
    .type \name, @function
\name:
    entry a1, \frame
    .endm

    .macro end name
    retw.n
    .size \name, . - \name
    .endm

    .equ TABLE, 2048            // bytes

// --- the sums of rows ---

    // Loads the entries that one weight word selects: four rows of one group.
    .macro look_up table, offset, load, byte, r0, r1, r2, r3
    l8ui a12, a3, \offset
    l8ui a13, a3, \offset + 1
    l8ui a14, a3, \offset + 2
    l8ui a15, a3, \offset + 3
    addx8 a12, a12, \table
    addx8 a13, a13, \table
    addx8 a14, a14, \table
    addx8 a15, a15, \table
    \load \r0, a12, \byte
    \load \r1, a13, \byte
    \load \r2, a14, \byte
    \load \r3, a15, \byte
    .endm

    // a8-a11 are the sums.
    .macro add_entries
    add.n a8, a8, a12
    add.n a9, a9, a13
    add.n a10, a10, a14
    add.n a11, a11, a15
    .endm

    // a0: table 0, a2: the other tables, from the last one on
    .macro group number, in_table, load, byte
    .if \number <= \in_table
    look_up a0, 4 * \number, \load, \byte, a12, a13, a14, a15
    .else
    look_up a2, 4 * \number, \load, \byte, a12, a13, a14, a15
    .endif
    add_entries
    .if (\number > 2 * \in_table) && ((\number - 1) % \in_table == 0)
    addmi a2, a2, -TABLE
    .endif
    .endm

    // All groups that a stretch can have, except group 0.
    .macro groups_of_one
    .set number, ONE_GROUPS
    .rept ONE_GROUPS
    group number, 4, l16si, 2 * (number % 4)
    .set number, number - 1
    .endr
    .endm
    .equ ONE_GROUPS, 51         // BN_TABLES_AT_ONCE less 1
    .equ ONE_GROUP, 44          // bytes of code
    .equ ONE_NEXT_TABLES, 11
    .equ NEXT_TABLE, 3          // bytes of code

    .macro groups_of_pair
    .set number, PAIR_GROUPS
    .rept PAIR_GROUPS
    group number, 2, l32i.n, 4 * (number % 2)
    .set number, number - 1
    .endr
    .endm
    .equ PAIR_GROUPS, 25        // BN_PAIR_TABLES_AT_ONCE less 1
    .equ PAIR_GROUP, 40
    .equ PAIR_NEXT_TABLES, 11

    .equ LAST_TABLE, 0
    .equ ENTER, 4               // where to enter the code of all groups
    .equ RETURN, 8

    // a2: the stretch, a3: weights, a4: out, a5: blocks of rows, at least one.
    //
    // There is no loop over the groups. The entries of group 0 become a block's sums. For the other groups there is
    // straight-line code for as many as a stretch can have, and each block jumps to the place in it from which on there
    // are as many as this stretch has. a6: bytes of weights from one block to the next. a7: where to go after group 0,
    // which is that place or, if the sums go on from `out`, the code that adds `out` first.
    .macro rows name, load, groups
    begin \name
    s32i.n a0, a1, RETURN
    call0 \name\()_prepare     // with where this goes on in a0
    l32i.n a12, a4, 0
    l32i.n a13, a4, 4
    l32i.n a14, a4, 8
    l32i.n a15, a4, 12
    add_entries
    l32i.n a12, a1, ENTER
    jx a12
    \groups
    s32i.n a8, a4, 0
    s32i.n a9, a4, 4
    s32i.n a10, a4, 8
    s32i.n a11, a4, 12
    addi a4, a4, 16
    add.n a3, a3, a6
    beq a4, a5, \name\()_done
\name\()_block:
    l32i.n a2, a1, LAST_TABLE
    look_up a2, 0, \load, 0, a8, a9, a10, a11
    jx a7
\name\()_done:
    l32i.n a0, a1, RETURN
    retw.n
    .balign 4
\name\()_prepare:
    .endm
    .equ ADD_OUT, 21            // bytes of code before the groups

    // \all: bytes of code of all groups.
    .macro prepare name, log_in_table, group, all
    l32i.n a8, a2, 0            // tables
    l32i.n a9, a2, 4            // groups
    l32i.n a10, a2, 8           // skip
    l32i.n a13, a2, 12          // start
    addx4 a6, a9, a10
    slli a5, a5, 4
    add.n a5, a5, a4            // end of out
    addi.n a9, a9, -1
    srli a10, a9, \log_in_table // tables except the last
    slli a11, a10, 11
    add.n a11, a11, a8
    s32i.n a11, a1, LAST_TABLE
    // The code goes on to each of them but table 0.
    addi.n a10, a10, -1
    movi.n a11, 0
    movltz a10, a11, a10
    addx2 a10, a10, a10
    movi.n a11, \group
    mull a11, a11, a9
    add.n a11, a11, a10
    addmi a7, a0, (ADD_OUT + \all + 128) & -256
    addi a7, a7, ((ADD_OUT + \all + 128) & 255) - 128
    sub a7, a7, a11
    s32i.n a7, a1, ENTER
    addi.n a13, a13, -1         // BN_FROM_OUT
    moveqz a7, a0, a13
    mov.n a0, a8
    j \name\()_block
    .size \name, . - \name
    .endm

    rows bn_add_rows, l16si, groups_of_one
    prepare bn_add_rows, 2, ONE_GROUP, ONE_GROUPS * ONE_GROUP + ONE_NEXT_TABLES * NEXT_TABLE

    rows bn_add_rows_pair, l32i.n, groups_of_pair
    prepare bn_add_rows_pair, 1, PAIR_GROUP, PAIR_GROUPS * PAIR_GROUP + PAIR_NEXT_TABLES * NEXT_TABLE

    // a2: pairs, a3: first, a4: second, a5: blocks, at least one
    begin bn_take_apart
    slli a5, a5, 4
    add.n a5, a5, a2
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
    bne a2, a5, take_block_apart
    end bn_take_apart

// --- tables ---
//
// Two subroutines, binary_words and ternary_words, write one of the two words of every entry, from a2 on, for the
// codes of the high half at a3 and those of the low half at a4. They do not change a2, a3 and a5.

    // On the stack, besides RETURN:
    .equ BIAS, 0                // of all words, in the form in which the subroutine takes it
    .equ ALONE, 4               // the same for a group without another
    .equ CODES, 12              // of group 0
    .equ OTHERS, 16             // number of groups except group 0
    .equ FIRST_TOKEN, 20        // bytes to its codes from the second token's
    .equ MASK, 24
    .equ FLIP, 28
    .equ TWICE_128, 32

    .macro alone
    l32i.n a8, a1, ALONE
    s32i.n a8, a1, BIAS
    .endm

    // a2: tables, a3: codes, a4: groups
    .macro build_one name, columns, words, prepare
    begin \name, 64
    s32i.n a0, a1, RETURN
    s32i.n a3, a1, CODES
    addi.n a4, a4, -1
    s32i.n a4, a1, OTHERS
    \prepare                    // sets a8 and ALONE to BIAS without a bias
    movi a9, 1024               // BN_TABLE_BIAS
    add.n a8, a8, a9
    slli a9, a9, 16
    sub a8, a8, a9
    s32i.n a8, a1, BIAS
    addi a3, a3, \columns
    srli a5, a4, 2
    beqz a5, \name\()_last
\name\()_table:
    addi a4, a3, 3 * \columns
    call0 \words
    addi a3, a3, 2 * \columns
    addi a4, a3, -\columns
    addi.n a2, a2, 4
    call0 \words
    addi a3, a3, 2 * \columns
    addi a2, a2, -4
    addmi a2, a2, TABLE
    addi.n a5, a5, -1
    bnez a5, \name\()_table
\name\()_last:
    l32i.n a4, a1, CODES
    l32i.n a5, a1, OTHERS
    extui a5, a5, 0, 2
    bnez a5, \name\()_with_1
    mov.n a3, a4
    alone
\name\()_with_1:
    call0 \words
    bltui a5, 2, \name\()_done
    addi a4, a3, \columns
    addi a3, a3, 2 * \columns
    addi.n a2, a2, 4
    bnei a5, 2, \name\()_with_3
    mov.n a3, a4
    alone
\name\()_with_3:
    call0 \words
\name\()_done:
    l32i.n a0, a1, RETURN
    end \name
    .endm

    .macro first_token
    l32i.n a4, a1, FIRST_TOKEN
    add.n a4, a4, a3
    .endm

    // a2: tables, a3 and a4: the codes of both tokens, a5: groups
    .macro build_pair name, columns, words, prepare
    begin \name, 64
    s32i.n a0, a1, RETURN
    s32i.n a4, a1, CODES
    sub a3, a3, a4
    s32i.n a3, a1, FIRST_TOKEN
    addi a3, a4, 2 * \columns
    addi.n a5, a5, -1
    s32i.n a5, a1, OTHERS
    \prepare
    s32i.n a8, a1, BIAS
    srli a5, a5, 1
    beqz a5, \name\()_last
\name\()_table:
    first_token
    call0 \words
    addi a3, a3, -\columns
    first_token
    addi.n a2, a2, 4
    call0 \words
    addi a3, a3, 3 * \columns
    addi a2, a2, -4
    addmi a2, a2, TABLE
    addi.n a5, a5, -1
    bnez a5, \name\()_table
\name\()_last:
    addi a5, a3, -\columns
    l32i.n a3, a1, CODES
    first_token
    call0 \words
    mov.n a3, a5
    l32i.n a5, a1, OTHERS
    bbci a5, 0, \name\()_done
    first_token
    addi.n a2, a2, 4
    call0 \words
\name\()_done:
    l32i.n a0, a1, RETURN
    end \name
    .endm

    // A word, `position` from a2, with a4 = a2 + 1024.
    .macro store_next register
    .if position < 64
    s32i.n \register, a2, position
    .elseif position < 1024
    s32i \register, a2, position
    .elseif position < 1024 + 64
    s32i.n \register, a4, position - 1024
    .else
    s32i \register, a4, position - 1024
    .endif
    .set position, position + 8
    .endm

// --- binary ---

    // As c + 128 no code is negative. So the bytes of words can be used as codes, and both halves of a word can be
    // added up at once. This makes the sum of all codes too large by 8·128, which BIAS takes into account.
    .macro prepare_binary
    ssai 16
    movi a8, 256
    slli a9, a8, 16
    add.n a8, a8, a9
    s32i.n a8, a1, TWICE_128
    srli a9, a8, 8
    sub a9, a8, a9
    s32i.n a9, a1, MASK         // the low byte of each half
    srli a9, a8, 1
    slli a10, a8, 7
    or a9, a9, a10
    s32i.n a9, a1, FLIP         // 128 in each byte
    slli a8, a8, 2
    s32i.n a8, a1, ALONE
    .endm

    // \to = the low halves of \low and \high, then \high = their high halves
    .macro interleave to, low, high
    slli \to, \low, 16
    src \to, \high, \to
    extui \high, \high, 16, 16
    src \high, \high, \low
    .endm

    // Before, \odd has codes j and j + 1 in each half. After, it has j + 1, and \even has j. a14: MASK
    .macro codes even, odd
    and \even, \odd, a14
    srli \odd, \odd, 8
    and \odd, \odd, a14
    .endm

    // Adds the codes to the sum of all, a8; then replaces each by twice the code, which is what its bit adds.
    // a15: TWICE_128
    .macro changes even, odd
    add.n a8, a8, \even
    add.n a8, a8, \odd
    subx2 \even, \even, a15
    subx2 \odd, \odd, a15
    .endm

    // Stores four words, at the place of the Gray code of \index: from one four to the next only one bit changes.
    .macro four index
    .set position, 32 * (\index ^ (\index >> 1))
    store_next a8
    store_next a15
    store_next a10
    store_next a14
    .endm

    .macro go_on register
    add.n a8, a8, \register
    add.n a15, a15, \register
    add.n a10, a10, \register
    add.n a14, a14, \register
    .endm

    .macro go_off register
    sub a8, a8, \register
    sub a15, a15, \register
    sub a10, a10, \register
    sub a14, a14, \register
    .endm

    // If \bit is the lowest bit set in the index, it has changed in the Gray code: adds or subtracts its \register.
    .macro change index, bit, register
    .if (\index & (2 * \bit - 1)) == \bit
    .if \index & (2 * \bit)
    go_off \register
    .else
    go_on \register
    .endif
    .endif
    .endm

    build_one bn_build_binary, 8, binary_words, prepare_binary

    .balign 4
binary_words:
    l32i.n a6, a4, 0
    l32i.n a7, a3, 0
    l32i.n a8, a4, 4
    l32i.n a9, a3, 4
    l32i.n a15, a1, FLIP
    interleave a10, a6, a7
    interleave a11, a8, a9
    xor a7, a7, a15
    xor a9, a9, a15
    xor a10, a10, a15
    xor a11, a11, a15
    l32i.n a14, a1, MASK
    l32i.n a15, a1, TWICE_128
    codes a6, a7                // 2 and 3
    add.n a8, a6, a7
    subx2 a6, a6, a15
    subx2 a7, a7, a15
    codes a12, a11              // 4 and 5
    changes a12, a11
    codes a13, a9               // 6 and 7
    changes a13, a9
    and a14, a10, a14           // 0 and 1
    sub a10, a10, a14
    srli a10, a10, 8
    changes a14, a10
    // the words for bits 0 and 1: a8, a15, a10, a14
    l32i.n a15, a1, BIAS
    addmi a4, a2, 1024
    sub a8, a15, a8
    add.n a15, a8, a14
    add.n a14, a15, a10
    add.n a10, a8, a10
    .set index, 0
    .rept 64
    four index
    .set index, index + 1
    change index, 1, a6
    change index, 2, a7
    change index, 4, a12
    change index, 8, a11
    change index, 16, a13
    change index, 32, a9
    .endr
    ret.n
    .size binary_words, . - binary_words

    build_pair bn_build_binary_pair, 8, binary_words, prepare_binary

// --- ternary ---

    .macro prepare_ternary
    movi.n a8, 0
    s32i.n a8, a1, ALONE
    .endm

    // \register = code j of the low half, plus that of the high half times 2^16. a15 is lost.
    .macro code_pair j, register
    l8ui \register, a4, \j
    l8ui a15, a3, \j
    sext \register, \register, 7
    slli a15, a15, 24
    srai a15, a15, 8
    add.n \register, \register, a15
    .endm

    // The words whose last digit other than 2 is 0 (a8) or 1 (a9), for each value of the lower digits.
    // a10, a14, a15, a7: what digits 0 to 3 add when they increase by 1 and all lower ones return to 0.
    .macro words_1
    store_next a8
    store_next a9
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

    // Before, a6 is the word where this digit and the lower ones are 0; after, that where this digit is 2.
    .macro digit code
    mov.n a8, a6
    add.n a9, a6, \code
    addx2 a6, \code, a6
    .endm

    build_one bn_build_ternary, 5, ternary_words, prepare_ternary

    // In the order of SPEC.md 1.2.
    .balign 4
ternary_words:
    code_pair 0, a10
    code_pair 1, a11
    code_pair 2, a12
    code_pair 3, a13
    code_pair 4, a14
    addmi a4, a2, 1024
    // the first word: the bias less all codes, because digit 0 is weight −1
    l32i.n a6, a1, BIAS
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
    store_next a6
    add.n a6, a6, a10
    store_next a6
    add.n a6, a6, a10
    store_next a6
    ret.n
    .size ternary_words, . - ternary_words

    build_pair bn_build_ternary_pair, 5, ternary_words, prepare_ternary

    .end no-transform
