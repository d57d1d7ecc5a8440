// The first instructions of a program under Linux: no caller, arguments unused.
    .text
    .align 4
    .global _start
_start:
    movi a0, 0
    call4 guest_begin
    call4 guest_main
    call4 guest_end
