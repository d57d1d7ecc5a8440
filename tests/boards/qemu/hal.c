// What the device package needs and the port has not: time, standard input that can be polled and
// interrupted, a ROMFS, and main.py at the start.

#include "py/gc.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stackctrl.h"
#include "py/stream.h"
#include "extmod/vfs.h"
#include "shared/runtime/pyexec.h"
#include "uart.h"

#define ROMFS_SIZE (0x80000)
#define STACK_LIMIT (10240)

#define REGISTER(address) (*(volatile uint32_t *)(address))

// --- time: a counter of microseconds, which overflows after 71 minutes, longer than any test takes ---

#if defined(QEMU_SOC_NRF51)

#define TIMER0 (0x40008000)
#define TIMER_TASKS_START REGISTER(TIMER0 + 0x000)
#define TIMER_TASKS_CAPTURE REGISTER(TIMER0 + 0x040)
#define TIMER_BITMODE REGISTER(TIMER0 + 0x508)
#define TIMER_PRESCALER REGISTER(TIMER0 + 0x510)
#define TIMER_CC REGISTER(TIMER0 + 0x540)

static void start_timer(void) {
    TIMER_BITMODE = 3;   // 32 bits
    TIMER_PRESCALER = 4; // 16 MHz / 2^4
    TIMER_TASKS_START = 1;
}

mp_uint_t mp_hal_ticks_us(void) {
    TIMER_TASKS_CAPTURE = 1;
    return TIMER_CC;
}

#elif defined(QEMU_SOC_MPS2)

#define FPGAIO_COUNTER REGISTER(0x40028018)
#define FPGAIO_PRESCALE REGISTER(0x4002801c)
#define SYST_CSR REGISTER(0xe000e010)
#define SYST_RVR REGISTER(0xe000e014)

static void start_timer(void) {
    FPGAIO_PRESCALE = 24; // 25 MHz / (24 + 1)
    // QEMU's UART takes the next byte when QEMU's main loop wakes up, and reading the last one does not wake
    // it. SysTick does, as often as bytes come at 115200 baud; it interrupts nothing.
    SYST_RVR = 2170;
    SYST_CSR = 5;
}

mp_uint_t mp_hal_ticks_us(void) {
    return FPGAIO_COUNTER;
}

#elif defined(QEMU_SOC_VIRT)

#define CLINT_MTIME_LOW REGISTER(0x0200bff8)
#define CLINT_MTIME_HIGH REGISTER(0x0200bffc)

static void start_timer(void) {
}

mp_uint_t mp_hal_ticks_us(void) {
    uint32_t high, low;
    do {
        high = CLINT_MTIME_HIGH;
        low = CLINT_MTIME_LOW;
    } while (high != CLINT_MTIME_HIGH);
    return ((uint64_t)high << 32 | low) / 10; // of 10 MHz
}

#endif

mp_uint_t mp_hal_ticks_cpu(void) {
    return mp_hal_ticks_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return mp_hal_ticks_us() / 1000;
}

void mp_hal_delay_us(mp_uint_t us) {
    mp_uint_t start = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - start < us) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    mp_uint_t start = mp_hal_ticks_us();
    while (mp_hal_ticks_us() - start < 1000 * ms) {
        mp_event_handle_nowait();
    }
}

// --- standard input ---

static int next_char = UART_RX_NO_CHAR;

// Takes out Ctrl-C, as an interrupt of the UART would.
static bool has_input(void) {
    if (next_char == UART_RX_NO_CHAR) {
        next_char = uart_rx_chr();
        if (next_char != UART_RX_NO_CHAR && next_char == mp_interrupt_char) {
            next_char = UART_RX_NO_CHAR;
            mp_sched_keyboard_interrupt();
        }
    }
    return next_char != UART_RX_NO_CHAR;
}

uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags) {
    return flags & (MP_STREAM_POLL_WR | (has_input() ? MP_STREAM_POLL_RD : 0));
}

int __wrap_mp_hal_stdin_rx_chr(void) {
    while (!has_input()) {
        mp_event_handle_nowait();
    }
    int c = next_char;
    next_char = UART_RX_NO_CHAR;
    return c;
}

// --- ROMFS ---

mp_obj_t mp_vfs_rom_ioctl(size_t n_args, const mp_obj_t *args) {
    switch (mp_obj_get_int(args[0])) {
    case MP_VFS_ROM_IOCTL_GET_NUMBER_OF_SEGMENTS:
        return MP_OBJ_NEW_SMALL_INT(1);
    case MP_VFS_ROM_IOCTL_GET_SEGMENT:
        return mp_obj_new_memoryview('B', ROMFS_SIZE, (void *)BOARD_ROMFS_ADDRESS);
    default:
        return MP_OBJ_NEW_SMALL_INT(-MP_EINVAL);
    }
}

// --- start ---

static uint32_t heap[MICROPY_HEAP_SIZE / sizeof(uint32_t)];

static void enable_fpu(void) {
#ifdef __ARM_FP
    REGISTER(0xe000ed88) |= 0xf << 20; // CPACR: full access to CP10 and CP11
    __asm volatile("dsb\nisb");
#endif
}

// As other ports do it: main.py first, the REPL when that ends.
int __wrap_main(void) {
    enable_fpu();
    start_timer();
    mp_stack_ctrl_init();
    mp_stack_set_limit(STACK_LIMIT);
    gc_init(heap, (char *)heap + sizeof(heap));
    for (;;) {
        mp_init();
        if (pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL) {
            pyexec_file_if_exists("/rom/main.py");
        }
        while ((pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl()) == 0) {
        }
        mp_printf(&mp_plat_print, "MPY: soft reboot\n");
        gc_sweep_all();
        mp_deinit();
    }
}
