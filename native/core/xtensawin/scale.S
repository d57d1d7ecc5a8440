// bn_scale of vector.h for Xtensa with register windows. It takes five instructions an element, because it sets the shift
// register once, which GCC does for every element.

    .text
    .begin no-transform

    .macro each work
    \work a10
    \work a11
    \work a12
    \work a13
    .endm

    .macro multiply register
    mull \register, \register, a4
    .endm

    .macro add_half register
    add.n \register, \register, a9
    .endm

    .macro shift register
    sra \register, \register
    .endm

    .macro load_four offset
    l32i.n a10, a8, \offset
    l32i.n a11, a8, \offset + 4
    l32i.n a12, a8, \offset + 8
    l32i.n a13, a8, \offset + 12
    .endm

    .macro store_four offset
    s32i.n a10, a8, \offset
    s32i.n a11, a8, \offset + 4
    s32i.n a12, a8, \offset + 8
    s32i.n a13, a8, \offset + 12
    .endm

    .macro shift_four offset
    load_four \offset
    each shift
    store_four \offset
    .endm

    .macro scale_four offset
    load_four \offset
    each multiply
    each add_half
    each shift
    store_four \offset
    .endm

    // The elements beyond a multiple of eight come first, one by one. a2: x, a3: bytes, a7: the end
    .macro eights name, one, four
    mov.n a8, a2
    extui a14, a3, 2, 3
    beqz a14, \name\()_eight
\name\()_one:
    l32i.n a10, a8, 0
    \one
    s32i.n a10, a8, 0
    addi.n a8, a8, 4
    addi.n a14, a14, -1
    bnez a14, \name\()_one
    beq a8, a7, \name\()_end
\name\()_eight:
    \four 0
    \four 16
    addi a8, a8, 32
    bne a8, a7, \name\()_eight
\name\()_end:
    .endm

    .macro shift_one
    shift a10
    .endm

    .macro scale_one
    multiply a10
    add_half a10
    shift a10
    .endm

    // a2: x, a3: n, a4: m, a5: pre_shift, a6: post_shift
    .balign 4
    .global bn_scale
    .type bn_scale, @function
bn_scale:
    entry a1, 32
    slli a3, a3, 2
    add.n a7, a2, a3
    beqz a5, multiply_all
    ssr a5
    eights shift, shift_one, shift_four
multiply_all:
    movi.n a9, 1
    ssl a6
    sll a9, a9
    srli a9, a9, 1              // half of 2^post_shift
    ssr a6
    eights multiply, scale_one, scale_four
    retw.n
    .size bn_scale, . - bn_scale

    .end no-transform
