// A program for Linux on Xtensa without a library, run by qemu-xtensa: system calls, and the two instructions
// that this emulator lacks.
#ifndef BITNET_XTENSA_GUEST_H
#define BITNET_XTENSA_GUEST_H

#include <stddef.h>
#include <stdint.h>

// 0 at the end of the input; stops the program if there is less than `size`.
int guest_read(void *data, size_t size);

void guest_write(const void *data, size_t size);

// Memory that is shared through a file, at a fixed address.
void guest_map(uintptr_t address, size_t size, int file, size_t offset);

_Noreturn void guest_fail(const char *message);

// What start.S calls, in this order. guest_main is the program; the rest is in guest.c.
void guest_begin(void);
void guest_main(void);
_Noreturn void guest_end(void);

#endif
