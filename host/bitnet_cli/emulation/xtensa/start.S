// The first instructions of a program under Linux: no caller, arguments unused.
    .text
    .align 4
    .global _start
_start:
    movi a0, 0
    call4 guest_start
