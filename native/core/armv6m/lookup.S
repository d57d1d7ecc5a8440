// lookup.h for Cortex-M0 and M0+, in Thumb-1.
//
// Eight registers take part in arithmetic, no shift is free and no load has a scaled index. So the sums stay in
// r8-r11, which can do little more than be added to; one load fetches four words of weights; and a lookup is shift, mask,
// load, add: 5 cycles for 8 binary or 5 ternary weights.

#include "thumb1.inc"

// --- the sums of rows ---

    // \to = a byte of the word, times the size of an entry. r7: a mask of the bits that this can have
    .macro byte_offset to, word, byte, entry_bits
    .if \entry_bits == 0
    .if \byte == 0
    uxtb \to, \word
    .elseif \byte == 3
    lsrs \to, \word, #24
    .else
    lsrs \to, \word, #8 * \byte
    uxtb \to, \to
    .endif
    .else
    .if \byte == 0
    lsls \to, \word, #\entry_bits
    .else
    lsrs \to, \word, #8 * \byte - \entry_bits
    .endif
    ands \to, r7
    .endif
    .endm

    // sum += table[byte of word]. r1: the table; r2: lost.
    .macro lookup word, byte, sum, load, entry_bits
    byte_offset r2, \word, \byte, \entry_bits
    \load r2, [r1, r2]
    add \sum, r2
    .endm

    // A weight word: four rows of one group, in 21 cycles, or 19 with narrow tables. r12: bytes of a table.
    .macro group word, load, entry_bits
    lookup \word, 0, r8, \load, \entry_bits
    lookup \word, 1, r9, \load, \entry_bits
    lookup \word, 2, r10, \load, \entry_bits
    lookup \word, 3, r11, \load, \entry_bits
    add r1, r12
    .endm

    // The same for the last group: the sums of the block end up in r3-r6, where r6 has held the weights.
    .macro last_lookup word, byte, sum, total, load, entry_bits
    byte_offset \total, \word, \byte, \entry_bits
    \load \total, [r1, \total]
    add \total, \sum
    .endm

    // r0: the stretch, r1: weights, r2: out, r3: blocks of rows, at least one.
    //
    // There is no loop over the groups. Instead there is straight-line code for as many groups as a stretch can have, and
    // each block jumps to the place in it from which on there are as many as this stretch has. The groups beyond a multiple
    // of four come first, one by one; the others follow, four at a time. The last group leaves the sums in registers that
    // can be stored. From one block to the next it takes 21 cycles. `wraps`: if the stretch has more fours than the code,
    // all of them but the last run through the code again.
    .macro rows name, load, entry_bits, fours, group_bytes, wraps
    .equ \name\()_STACK, 16 + 4 * \wraps
    begin \name
    mov lr, r2                  // lr: out
    lsls r3, r3, #4
    adds r3, r3, r2
    mov r8, r3                  // the end of out
    ldm r0, {r0, r2, r4, r5}    // tables, groups, skip, start
    // r7: where to go after the singles, r2: how many of them; less than four groups have the last one apart
    lsrs r6, r2, #2
    beq \name\()_few
    .if \wraps
    movs r7, #0
    mov r9, r7
    b \name\()_wrap_check
\name\()_wrap:
    subs r6, #\fours - 1
    adds r7, #1
    mov r9, r7                  // how often to go through them again
\name\()_wrap_check:
    cmp r6, #\fours
    bhi \name\()_wrap
    .endif
    movs r7, #\fours
    subs r7, r7, r6
    movs r6, #2 + 4 * \group_bytes // of code: a load and four groups
    muls r7, r6
    adr r6, \name\()_fours
    adds r7, r7, r6
    lsls r2, r2, #30
    lsrs r2, r2, #30
    b \name\()_choose
\name\()_few:
    adr r7, \name\()_last_single
    subs r2, #1
\name\()_choose:
    // r6: where to begin with the groups
    movs r6, r7
    cmp r2, #0
    beq \name\()_push
    movs r6, #3
    subs r2, r6, r2
    movs r6, #2 + \group_bytes
    muls r2, r6
    adr r6, \name\()_singles
    adds r6, r6, r2
\name\()_push:
    push {r4, r6, r7}
    subs r1, r1, r4             // as if there had been a block before
    // Where to begin with a block: in most cases, where to begin with the groups.
    cmp r5, #1                  // BN_FROM_OUT
    beq \name\()_prepare
    cmp r4, #0
    beq \name\()_start
\name\()_prepare:
    adr r6, \name\()_continue
\name\()_start:
    mov r4, r8
    .if \wraps
    mov r7, r9
    push {r0, r4-r7}
    .else
    push {r0, r4-r6}
    .endif
    // [sp]: tables, end of out, start, where to begin with a block, wraps; skip, with the groups, with the fours
    mov r0, r1
    .if \entry_bits > 0
    movs r7, #255
    lsls r7, r7, #\entry_bits
    .endif
    movs r1, #1
    lsls r1, r1, #8 + \entry_bits
    mov r12, r1
    b \name\()_block

    .balign 4
\name\()_last_single:
    ldm r0!, {r6}
    b \name\()_last
    .balign 4
\name\()_continue:
    ldr r2, [sp, #\name\()_STACK]
    adds r0, r0, r2
    ldr r6, [sp, #\name\()_STACK + 4]
    cmp r4, #1                  // BN_FROM_OUT
    bne \name\()_enter
    mov r2, lr
    ldm r2!, {r3-r5}
    mov r8, r3
    mov r9, r4
    mov r10, r5
    ldr r2, [r2]
    mov r11, r2
\name\()_enter:
    mov pc, r6

    .balign 4
\name\()_singles:
    .rept 3
    ldm r0!, {r3}
    group r3, \load, \entry_bits
    .endr
    ldr r2, [sp, #\name\()_STACK + 8]
    mov pc, r2
    .balign 4
\name\()_fours:
    .rept \fours - 1
    ldm r0!, {r3-r6}
    group r3, \load, \entry_bits
    group r4, \load, \entry_bits
    group r5, \load, \entry_bits
    group r6, \load, \entry_bits
    .endr
    .if \wraps
    subs r7, #1
    bmi \name\()_last_four
    b \name\()_fours
\name\()_last_four:
    .endif
    ldm r0!, {r3-r6}
    group r3, \load, \entry_bits
    group r4, \load, \entry_bits
    group r5, \load, \entry_bits
\name\()_last:
    last_lookup r6, 0, r8, r3, \load, \entry_bits
    last_lookup r6, 1, r9, r4, \load, \entry_bits
    last_lookup r6, 2, r10, r5, \load, \entry_bits
    last_lookup r6, 3, r11, r6, \load, \entry_bits
    mov r2, lr
    stm r2!, {r3-r6}
    mov lr, r2

\name\()_block:
    mov r2, sp
    .if \wraps
    ldm r2!, {r1, r3-r5, r7}
    .else
    ldm r2!, {r1, r3-r5}
    .endif
    cmp lr, r3
    beq \name\()_done
    mov r8, r4
    mov r9, r4
    mov r10, r4
    mov r11, r4
    mov pc, r5
\name\()_done:
    end \name, \name\()_STACK + 12
    .endm

    rows bn_add_rows, ldrh, 1, 13, 34, 0
    rows bn_add_rows_pair, ldr, 2, 6, 34, 0
    rows bn_add_rows_narrow, ldrb, 0, 6, 30, 1

    // r0: pairs, r1: first, r2: second, r3: blocks, at least one. 33 cycles a block.
    leaf bn_take_apart
take_block_apart:
    .rept 2
    ldm r0!, {r4, r5}
    sxth r6, r4
    sxth r7, r5
    stm r1!, {r6, r7}
    subs r4, r4, r6
    subs r5, r5, r7
    asrs r4, r4, #16
    asrs r5, r5, #16
    stm r2!, {r4, r5}
    .endr
    subs r3, #1
    bne take_block_apart
    end_leaf bn_take_apart

// --- tables of binary weights ---

    // Tables of binary weights are written in steps of four words. From one step to the next, one bit of the step's number
    // becomes 1 and all lower bits become 0, as in lookup.c. The register of that bit, `by`, holds what the bit adds less
    // what all lower bits add.
    .macro ruler_step by
    stm r0!, {r1-r4}
    add r1, \by
    add r2, \by
    add r3, \by
    add r4, \by
    .endm

    .macro ruler_8
    ruler_step r8
    ruler_step r9
    ruler_step r8
    ruler_step r10
    ruler_step r8
    ruler_step r9
    ruler_step r8
    .endm

    .macro ruler_16
    ruler_8
    ruler_step r11
    ruler_8
    stm r0!, {r1-r4}
    .endm

    .macro ruler_32
    ruler_8
    ruler_step r11
    ruler_8
    ruler_step r12
    ruler_8
    ruler_step r11
    ruler_8
    stm r0!, {r1-r4}
    .endm

    // \register = \code less the sum of the codes of lower bits, which r6 holds
    .macro ruler_register register, code, lost
    subs \lost, \code, r6
    mov \register, \lost
    adds r6, r6, \code
    .endm

    // r0: tables, r1: codes, r2: groups, at least one. A word holds the entries with bit 0 clear (low half) and
    // set; r1-r4 hold the words for the four values of bits 1 and 2. 336 cycles a table
    begin bn_build_binary
    mov lr, r1
    lsls r7, r2, #9
    adds r7, r7, r0             // r7: the end
    movs r5, #2
    lsls r4, r5, #16
    orrs r5, r4                 // r5: 2 in both halves
binary_table:
    mov r1, lr
    ldm r1!, {r2, r3}           // 8 codes
    mov lr, r1
    // D_j = 2·code_j in both halves. r6 = D_3 + …
    asrs r6, r2, #24
    muls r6, r5
    mov r8, r6
    sxtb r1, r3
    muls r1, r5
    ruler_register r9, r1, r4
    lsls r1, r3, #16
    asrs r1, r1, #24
    muls r1, r5
    ruler_register r10, r1, r4
    lsls r1, r3, #8
    asrs r1, r1, #24
    muls r1, r5
    ruler_register r11, r1, r4
    asrs r1, r3, #24
    muls r1, r5
    ruler_register r12, r1, r4
    lsls r3, r2, #8
    asrs r3, r3, #24
    muls r3, r5
    adds r6, r6, r3
    lsls r4, r2, #16
    asrs r4, r4, #24
    muls r4, r5
    adds r6, r6, r4
    // the first word: BN_TABLE_BIAS − ΣD / 2 in both halves, and bit 0 in the high half
    sxtb r2, r2
    lsls r1, r2, #16
    subs r1, r1, r2
    asrs r6, r6, #1
    subs r1, r1, r6
    lsls r6, r5, #9
    adds r1, r1, r6
    adds r2, r1, r4
    adds r4, r2, r3
    adds r3, r1, r3
    ruler_32
    cmp r0, r7
    beq binary_done
    b binary_table
binary_done:
    end bn_build_binary, 0

    // Makes each of the four codes in \w its size, or one less if the code is negative.
    .macro sizes w
    lsrs r6, \w, #7
    ands r6, r2
    lsls r7, r6, #8
    subs r7, r7, r6
    eors \w, r7
    .endm

    // r0: codes, r1: groups. Returns the first group whose sizes may add up to more than 127. The limit is 120, because each
    // size may be one too small.
    begin bn_first_wide
    movs r3, #255
    lsls r2, r3, #16
    orrs r3, r2             // r3: even bytes
    movs r2, #1
    lsls r4, r2, #8
    orrs r2, r4
    lsls r4, r2, #16
    orrs r2, r4             // r2: 1 in each byte
    movs r4, #120
    lsls r4, r4, #16
    mov r8, r4
    mov r9, r0
    lsls r1, r1, #3
    adds r1, r1, r0
    mov r10, r1             // the end
    b first_wide_next
first_wide_group:
    ldm r0!, {r4, r5}
    sizes r4
    sizes r5
    adds r4, r4, r5         // at most 254 in each byte
    lsrs r5, r4, #8
    ands r5, r3
    ands r4, r3
    adds r4, r4, r5
    lsls r5, r4, #16
    adds r4, r4, r5         // all eight in the upper half
    cmp r4, r8
    bhs first_wide_found
first_wide_next:
    cmp r0, r10
    bne first_wide_group
    adds r0, #8
first_wide_found:
    mov r1, r9
    subs r0, r0, r1
    lsrs r0, r0, #3
    subs r0, #1
    end bn_first_wide, 0

    // Increases \out by the code if the bit that was shifted out last is 1, and decreases it if the bit is 0. r2: the code
    // less 1
    .macro add_bit out
    sbcs r6, r6                 // 0 or −1; the carry stays
    eors r6, r2
    adcs \out, r6
    .endm

    // r0: weights, r1: out, r2: blocks, r3: groups, [sp]: column, code. 36 cycles a block
    begin bn_add_column
    lsls r3, r3, #2
    mov r8, r3
    lsls r2, r2, #4
    adds r2, r2, r1
    mov r9, r2                  // the end of out
    ldr r7, [sp, #36]
    adds r7, #1
    ldr r2, [sp, #40]
    subs r2, #1
column_block:
    ldr r3, [r0]
    add r0, r8
    ldm r1!, {r4, r5}
    subs r1, #8
    lsrs r3, r7
    add_bit r4
    lsrs r3, r3, #8
    add_bit r5
    stm r1!, {r4, r5}
    ldm r1!, {r4, r5}
    subs r1, #8
    lsrs r3, r3, #8
    add_bit r4
    lsrs r3, r3, #8
    add_bit r5
    stm r1!, {r4, r5}
    cmp r1, r9
    bne column_block
    end bn_add_column, 0

    // \register = 2·(\code less the sum of the codes of lower bits, which r6 holds) in each byte
    .macro narrow_register register, code, lost
    subs \lost, \code, r6
    muls \lost, r5
    mov \register, \lost
    adds r6, r6, \code
    .endm

    // r0: tables, r1: codes, r2: groups, at least one. As in bn_build_binary, but a word holds four entries: bit 0
    // is that of the odd bytes, bit 1 that of the upper two. 198 cycles a table
    begin bn_build_narrow
    mov lr, r1
    lsls r2, r2, #8
    adds r2, r2, r0
    mov r12, r2                 // the end
    movs r5, #2
    lsls r4, r5, #8
    orrs r5, r4
    lsls r4, r5, #16
    orrs r5, r4                 // r5: 2 in each byte
narrow_table:
    mov r1, lr
    ldm r1!, {r2, r3}           // 8 codes
    mov lr, r1
    sxtb r6, r3                 // r6 = code 4 + …
    movs r1, r6
    muls r1, r5
    mov r8, r1
    lsls r1, r3, #16
    asrs r1, r1, #24
    narrow_register r9, r1, r4
    lsls r1, r3, #8
    asrs r1, r1, #24
    narrow_register r10, r1, r4
    asrs r1, r3, #24
    narrow_register r11, r1, r4
    asrs r3, r2, #24
    adds r6, r6, r3
    muls r3, r5                 // bit 3
    lsls r4, r2, #8
    asrs r4, r4, #24
    adds r6, r6, r4
    muls r4, r5                 // bit 2
    sxtb r1, r2
    adds r6, r6, r1
    lsls r1, r1, #9             // bit 0, in byte 1
    lsls r2, r2, #16
    asrs r2, r2, #24
    adds r6, r6, r2
    lsls r2, r2, #17            // bit 1, in byte 2
    // the first word: BN_NARROW_BIAS − Σ code in each byte, bit 0 in bytes 1 and 3, bit 1 in bytes 2 and 3
    rsbs r6, r6, #0
    adds r6, #128
    lsrs r7, r5, #1
    muls r6, r7
    adds r6, r6, r1
    lsls r1, r1, #16
    adds r6, r6, r1
    adds r6, r6, r2
    lsls r2, r2, #8
    adds r1, r6, r2
    adds r2, r1, r4
    adds r4, r2, r3
    adds r3, r1, r3
    ruler_16
    cmp r0, r12
    beq narrow_done
    b narrow_table
narrow_done:
    end bn_build_narrow, 0

    // r1 = 2·(a code of the first token + 2^16 times that of the second). r5 and r7: words of their codes; \left: the shift
    // that brings the code to the top of its word.
    .macro pair_code left
    .if \left == 24
    sxtb r1, r5
    .elseif \left == 0
    asrs r1, r5, #24
    .else
    lsls r1, r5, #\left
    asrs r1, r1, #24
    .endif
    .if \left != 0
    lsls r2, r7, #\left
    asrs r2, r2, #24
    .else
    asrs r2, r7, #24
    .endif
    lsls r2, r2, #17
    lsls r1, r1, #1
    adds r1, r1, r2
    .endm

    // r0: tables, r1 and r2: the codes of both tokens, r3: groups, at least one. An entry is a word that both
    // sums are added to, the second times 2^16; r1-r4 hold those for bits 0 and 1.
    begin bn_build_binary_pair
    lsls r3, r3, #10
    adds r3, r3, r0
    push {r1-r3}                // [sp]: codes, codes, end

binary_pair_table:
    mov r12, r0
    ldr r0, [sp, #0]
    ldm r0!, {r5}
    ldr r2, [sp, #4]
    ldm r2!, {r7}
    push {r2}                   // kept until the first four codes are done
    pair_code 24
    movs r4, r1                 // D_0
    pair_code 16
    movs r3, r1                 // D_1
    pair_code 8
    mov r8, r1
    movs r6, r1                 // r6 = D_2 + …
    pair_code 0
    ruler_register r9, r1, r2
    pop {r2}
    ldm r0!, {r5}
    str r0, [sp, #0]
    ldm r2!, {r7}
    str r2, [sp, #4]
    pair_code 24
    ruler_register r10, r1, r2
    pair_code 16
    ruler_register r11, r1, r2
    pair_code 8
    mov r0, r12
    ruler_register r12, r1, r2
    pair_code 0
    ruler_register lr, r1, r2
    // the first entry, −ΣD / 2, then those of bits 0 and 1
    adds r1, r6, r4
    adds r1, r1, r3
    asrs r1, r1, #1
    rsbs r1, r1, #0
    adds r2, r1, r4
    adds r4, r2, r3
    adds r3, r1, r3
    movs r5, #2
binary_pair_half:
    ruler_32
    add r1, lr
    add r2, lr
    add r3, lr
    add r4, lr
    subs r5, #1
    beq binary_pair_next
    b binary_pair_half
binary_pair_next:
    ldr r1, [sp, #8]
    cmp r0, r1
    beq binary_pair_done
    b binary_pair_table
binary_pair_done:
    end bn_build_binary_pair, 12

// --- tables of ternary weights ---

    // As ruler_step, for three words, r1-r3, or for six, r1-r6, which are those of two digits.
    .macro ternary_write words
    .if \words == 3
    stm r0!, {r1-r3}
    .else
    stm r0!, {r1-r6}
    .endif
    .endm

    .macro ternary_step by, words
    ternary_write \words
    add r1, \by
    add r2, \by
    add r3, \by
    .if \words == 6
    add r4, \by
    add r5, \by
    add r6, \by
    .endif
    .endm

    .macro ternary_3 words
    ternary_step r8, \words
    ternary_step r8, \words
    ternary_write \words
    .endm

    .macro ternary_9 words
    .rept 2
    ternary_step r8, \words
    ternary_step r8, \words
    ternary_step r9, \words
    .endr
    ternary_3 \words
    .endm

    .macro ternary_27 words
    .rept 2
    .rept 2
    ternary_step r8, \words
    ternary_step r8, \words
    ternary_step r9, \words
    .endr
    ternary_step r8, \words
    ternary_step r8, \words
    ternary_step r10, \words
    .endr
    ternary_9 \words
    .endm

    // C_j is code j in both halves. Before: r5 is the entry whose digits above \code's are 2 and whose other digits are 0,
    // in both halves; in the high half, \code's digit is to be 1. After: r1-r3 are the words for the values of digit 0, and
    // r5 is the same for the digit below.
    .macro ternary_begin code
    lsls r1, \code, #16
    adds r1, r1, r5
    adds r5, r5, \code
    adds r5, r5, \code
    adds r2, r1, r4
    adds r3, r2, r4
    .endm

    .macro both_halves code, offset
    ldrb \code, [r1, #\offset]
    sxtb \code, \code
    muls \code, r3
    .endm

    // r0: tables, r1: codes, r2: groups, at least one. In the order of SPEC.md 1.2, two entries that differ in one digit
    // only, which is 0 or 1, share a word.
    begin bn_build_ternary
    lsls r2, r2, #9
    adds r2, r2, r0
    movs r3, #1
    lsls r4, r3, #16
    orrs r3, r4                 // 1 in both halves
    lsls r4, r3, #10            // BN_TABLE_BIAS in both halves
    push {r1-r4}                // [sp]: codes, end, 1, bias

ternary_table:
    ldr r1, [sp, #0]
    ldr r3, [sp, #8]
    both_halves r4, 0
    both_halves r5, 1
    both_halves r6, 2
    both_halves r7, 3
    both_halves r2, 4
    adds r1, #5
    str r1, [sp, #0]
    // From one step to the next a digit goes from 0 to 1 or to 2, and those below from 2 to 0.
    mov r8, r5                  // C_1
    lsls r1, r5, #1
    subs r3, r6, r1
    mov r9, r3                  // C_2 − 2·C_1
    subs r3, r7, r1
    subs r3, r3, r6
    subs r3, r3, r6
    mov r10, r3                 // C_3 − 2·C_2 − 2·C_1
    mov r11, r5
    mov r12, r6
    mov lr, r7
    // bias − ΣC
    adds r5, r5, r4
    adds r5, r5, r6
    adds r5, r5, r7
    adds r5, r5, r2
    ldr r3, [sp, #12]
    subs r5, r3, r5
    mov r7, r2
    ternary_begin r7
    ternary_27 3
    mov r7, lr
    ternary_begin r7
    ternary_9 3
    mov r7, r12
    ternary_begin r7
    ternary_3 3
    mov r7, r11
    ternary_begin r7
    ternary_write 3
    lsls r1, r4, #16
    adds r1, r1, r5
    adds r2, r5, r4
    adds r2, r2, r4
    stm r0!, {r1, r2}
    adds r0, #512 - 488
    ldr r1, [sp, #4]
    cmp r0, r1
    beq ternary_done
    b ternary_table
ternary_done:
    end bn_build_ternary, 16

    // Before: r7 is the entry whose digits above \code's are 2 and whose other digits are 0. After: r1-r6 are the words for
    // the values 0 and 1 of \code's digit with each value of digit 0, and r7 is the same for the digit below. [sp + 12]:
    // C_0.
    .macro ternary_pair_begin code
    movs r1, r7
    mov r5, \code
    adds r2, r7, r5
    adds r7, r2, r5
    ldr r6, [sp, #12]
    adds r3, r1, r6
    adds r4, r2, r6
    adds r5, r3, r6
    adds r6, r4, r6
    .endm

    // \code = code \offset of r1 and, times 2^16, that of r2; r7: lost.
    .macro both_tokens code, offset
    ldrb \code, [r1, #\offset]
    sxtb \code, \code
    ldrb r7, [r2, #\offset]
    lsls r7, r7, #24
    asrs r7, r7, #8
    adds \code, \code, r7
    .endm

    // r0: tables, r1 and r2: the codes of both tokens, r3: groups, at least one; entries as in
    // bn_build_binary_pair, in the order of bn_build_ternary.
    begin bn_build_ternary_pair
    lsls r3, r3, #10
    adds r3, r3, r0
    push {r1-r4}                // [sp]: codes, codes, end, C_0

ternary_pair_table:
    mov lr, r0
    ldr r1, [sp, #0]
    ldr r2, [sp, #4]
    both_tokens r0, 4
    both_tokens r3, 0
    str r3, [sp, #12]
    both_tokens r4, 1
    both_tokens r5, 2
    both_tokens r6, 3
    adds r1, #5
    adds r2, #5
    str r1, [sp, #0]
    str r2, [sp, #4]
    // As in bn_build_ternary.
    mov r8, r4
    lsls r1, r4, #1
    subs r2, r5, r1
    mov r9, r2
    subs r2, r6, r1
    subs r2, r2, r5
    subs r2, r2, r5
    mov r10, r2
    mov r11, r4
    mov r12, r5
    // −ΣC
    adds r3, r3, r4
    adds r3, r3, r5
    adds r3, r3, r6
    adds r3, r3, r0
    rsbs r7, r3, #0
    mov r3, lr
    mov lr, r6
    mov r6, r0
    mov r0, r3
    ternary_pair_begin r6
    ternary_27 6
    ternary_pair_begin lr
    ternary_9 6
    ternary_pair_begin r12
    ternary_3 6
    ternary_pair_begin r11
    ternary_write 6
    ldr r2, [sp, #12]
    movs r1, r7
    adds r2, r2, r1
    ldr r3, [sp, #12]
    adds r3, r3, r2
    stm r0!, {r1-r3}
    adds r0, #1024 - 972
    ldr r1, [sp, #8]
    cmp r0, r1
    beq ternary_pair_done
    b ternary_pair_table
ternary_pair_done:
    end bn_build_ternary_pair, 16
