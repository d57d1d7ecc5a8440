// The simulated board's flash: maps a file into memory, outside the MicroPython heap, as XIP flash lies
// outside it on a real board. Linux on x86-64 only, like the simulated board; there is no libc in a native
// module, hence the raw calls.
#include "py/dynruntime.h"

#define SYS_OPEN 2
#define SYS_CLOSE 3
#define SYS_LSEEK 8
#define SYS_MMAP 9
#define SEEK_END 2
#define PROT_READ 1
#define MAP_PRIVATE 2

static long system_call(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static long checked(long result) {
    if (result < 0 && result > -4096) {
        mp_raise_OSError((int)-result);
    }
    return result;
}

// map(path): the file's bytes, read-only, for as long as the process lives.
static mp_obj_t map(mp_obj_t path) {
    long file = checked(system_call(SYS_OPEN, (long)mp_obj_str_get_str(path), 0, 0, 0, 0, 0));
    long size = system_call(SYS_LSEEK, file, 0, SEEK_END, 0, 0, 0);
    long address = system_call(SYS_MMAP, 0, size, PROT_READ, MAP_PRIVATE, file, 0);
    system_call(SYS_CLOSE, file, 0, 0, 0, 0, 0);
    checked(address);
    return mp_obj_new_bytearray_by_ref((size_t)size, (void *)address);
}
static MP_DEFINE_CONST_FUN_OBJ_1(map_obj, map);

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR_map, MP_OBJ_FROM_PTR(&map_obj));
    MP_DYNRUNTIME_INIT_EXIT
}
