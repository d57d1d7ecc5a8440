#include "guest.h"

// Numbers of the kernel for Xtensa.
enum { READ = 12, WRITE = 13, MMAP2 = 80, EXIT = 118, RT_SIGACTION = 226 };
enum { INPUT, OUTPUT, ERRORS };
enum { PROT_READ_WRITE_EXEC = 7, MAP_SHARED_FIXED = 0x11, PAGE_BITS = 12 };
enum { SIGILL = 4, SA_SIGINFO = 4, SIGNAL_SET_SIZE = 8 };

typedef struct {
    void (*handler)();
    uint32_t flags;
    void (*restorer)(void);
    uint32_t mask[SIGNAL_SET_SIZE / 4];
} sigaction_t;

// What a handler gets, from its beginning to the registers.
typedef struct {
    uint32_t flags, link, stack[3];
    uint32_t pc, ps, lbeg, lend, lcount, sar, acclo, acchi, a[16];
} ucontext_t;

static int32_t syscall(int number, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f) {
    register int32_t r2 __asm__("a2") = number;
    register uint32_t r6 __asm__("a6") = a;
    register uint32_t r3 __asm__("a3") = b;
    register uint32_t r4 __asm__("a4") = c;
    register uint32_t r5 __asm__("a5") = d;
    register uint32_t r8 __asm__("a8") = e;
    register uint32_t r9 __asm__("a9") = f;
    __asm__ volatile("syscall" : "+r"(r2) : "r"(r6), "r"(r3), "r"(r4), "r"(r5), "r"(r8), "r"(r9) : "memory");
    return r2;
}

static _Noreturn void stop(int status) {
    for (;;) {
        syscall(EXIT, (uint32_t)status, 0, 0, 0, 0, 0);
    }
}

_Noreturn void guest_fail(const char *message) {
    size_t length = 0;
    while (message[length]) {
        length++;
    }
    syscall(WRITE, ERRORS, (uintptr_t)message, length, 0, 0, 0);
    syscall(WRITE, ERRORS, (uintptr_t) "\n", 1, 0, 0, 0);
    stop(1);
}

int guest_read(void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        int32_t count = syscall(READ, INPUT, (uintptr_t)data + done, size - done, 0, 0, 0);
        if (count == 0 && done == 0) {
            return 0;
        }
        if (count <= 0) {
            guest_fail("the input ends too early");
        }
        done += (size_t)count;
    }
    return 1;
}

void guest_write(const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        int32_t count = syscall(WRITE, OUTPUT, (uintptr_t)data + done, size - done, 0, 0, 0);
        if (count <= 0) {
            guest_fail("the output is closed");
        }
        done += (size_t)count;
    }
}

void guest_map(uintptr_t address, size_t size, int file, size_t offset) {
    int32_t at = syscall(
        MMAP2, address, size, PROT_READ_WRITE_EXEC, MAP_SHARED_FIXED, (uint32_t)file, offset >> PAGE_BITS);
    if ((uintptr_t)at != address) {
        guest_fail("no memory at the wanted address");
    }
}

// By halves, because this is what there is no instruction for.
static uint32_t high_product(uint32_t x, uint32_t y) {
    uint32_t x0 = x & 0xFFFF, x1 = x >> 16, y0 = y & 0xFFFF, y1 = y >> 16;
    uint32_t middle = x1 * y0 + (x0 * y0 >> 16);
    uint32_t other = x0 * y1 + (middle & 0xFFFF);
    return x1 * y1 + (middle >> 16) + (other >> 16);
}

// muluh r, s, t and mulsh r, s, t
static void emulate(int signal, void *info, ucontext_t *context) {
    (void)signal;
    (void)info;
    const uint8_t *code = (const uint8_t *)context->pc;
    uint32_t word = code[0] | (uint32_t)code[1] << 8 | (uint32_t)code[2] << 16;
    uint32_t x = context->a[word >> 8 & 15], y = context->a[word >> 4 & 15];
    uint32_t *result = &context->a[word >> 12 & 15];
    switch (word & 0xFF000F) {
    case 0xA20000:
        *result = high_product(x, y);
        break;
    case 0xB20000:
        *result = high_product(x, y) - (x >> 31 ? y : 0) - (y >> 31 ? x : 0);
        break;
    default:
        guest_fail("an instruction that the emulated processor does not have");
    }
    context->pc += 3;
}

void guest_begin(void) {
    const sigaction_t action = {emulate, SA_SIGINFO, NULL, {0, 0}};
    if (syscall(RT_SIGACTION, SIGILL, (uintptr_t)&action, 0, SIGNAL_SET_SIZE, 0, 0) < 0) {
        guest_fail("no signal handler");
    }
}

_Noreturn void guest_end(void) {
    stop(0);
}

// What GCC calls for copies and the like.

void *memset(void *to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = (uint8_t)value;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
    return to;
}
