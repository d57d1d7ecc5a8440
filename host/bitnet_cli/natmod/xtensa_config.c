// What GCC and binutils for Xtensa load by XTENSA_GNU_CONFIG: the processor that ESP32, ESP32-S2 and ESP32-S3
// have in common. GCC reads the numbers below; the assembler reads tables of instructions, which come from
// QEMU's source (XTENSA_MODULES) and hold more than these chips have. GCC uses only what the numbers say.
#include <stddef.h>
#include <stdint.h>

#define ATTRIBUTE_UNUSED __attribute__((unused))
#define xtensa_modules qemu_modules
#include XTENSA_MODULES
#undef xtensa_modules

// The fields of GCC's struct xtensa_config_v1, v2 and v3, all of them int.
enum {
    HAVE_DENSITY = 1,
    HAVE_ABS = 3,
    HAVE_ADDX,
    HAVE_L32R,
    HAVE_MUL16 = 9,
    HAVE_MUL32,
    HAVE_MUL32_HIGH,
    HAVE_DIV32,
    HAVE_NSA,
    HAVE_MINMAX,
    HAVE_SEXT,
    HAVE_RELEASE_SYNC = 18,
    HAVE_WINDOWED = 32,
    NUM_AREGS,
    MMU_MIN_PTE_PAGE_SIZE = 44,
    MAX_INSTRUCTION_SIZE = 49,
    INST_FETCH_WIDTH,
    ABI,
    ABI_WINDOWED,
    ABI_CALL0,
    V1_SIZE,

    MARCH_LATEST = 1,
    MARCH_EARLIEST,
    V2_SIZE,

    HAVE_CLAMPS = 0,
    V3_SIZE = 4,
};

const int xtensa_config_v1[V1_SIZE] = {
    [HAVE_DENSITY] = 1,
    [HAVE_ABS] = 1,
    [HAVE_ADDX] = 1,
    [HAVE_L32R] = 1,
    [HAVE_MUL16] = 1,
    [HAVE_MUL32] = 1,
    [HAVE_MUL32_HIGH] = 1,
    [HAVE_DIV32] = 1,
    [HAVE_NSA] = 1,
    [HAVE_MINMAX] = 1,
    [HAVE_SEXT] = 1,
    [HAVE_RELEASE_SYNC] = 1,
    [HAVE_WINDOWED] = 1,
    [NUM_AREGS] = 64,
    [MMU_MIN_PTE_PAGE_SIZE] = 12,
    [MAX_INSTRUCTION_SIZE] = 3,
    [INST_FETCH_WIDTH] = 4,
    [ABI] = 0,
    [ABI_WINDOWED] = 0,
    [ABI_CALL0] = 1,
};
const int xtensa_config_v2[V2_SIZE] = {[MARCH_LATEST] = 270012, [MARCH_EARLIEST] = 270012};
const int xtensa_config_v3[V3_SIZE] = {[HAVE_CLAMPS] = 1};

// Macros that the preprocessor predefines besides.
const char *const xtensa_config_strings[] = {"__XCHAL_HAVE_WINDOWED=1", NULL};

// GCC loads nothing without this. The project's licence is MIT.
int plugin_is_GPL_compatible;

// muluh and mulsh, which the chips have and the tables lack: they are like mull.
enum { MULUH = sizeof(opcodes) / sizeof(opcodes[0]), MULSH, NUM_OPCODES };
enum { MULUH_CODE = 0xa20000, MULSH_CODE = 0xb20000, CODE_MASK = 0xff000f };

static void encode_muluh(xtensa_insnbuf slot) {
    slot[0] = MULUH_CODE;
}

static void encode_mulsh(xtensa_insnbuf slot) {
    slot[0] = MULSH_CODE;
}

static xtensa_opcode_encode_fn encode_muluh_in_slots[] = {encode_muluh, NULL, NULL};
static xtensa_opcode_encode_fn encode_mulsh_in_slots[] = {encode_mulsh, NULL, NULL};

static xtensa_opcode_internal all_opcodes[NUM_OPCODES] = {
    [MULUH] = {"muluh", ICLASS_xt_mul32, 0, encode_muluh_in_slots, 0, NULL},
    [MULSH] = {"mulsh", ICLASS_xt_mul32, 0, encode_mulsh_in_slots, 0, NULL},
};

static int decode(const xtensa_insnbuf instruction) {
    switch (instruction[0] & CODE_MASK) {
    case MULUH_CODE:
        return MULUH;
    case MULSH_CODE:
        return MULSH;
    default:
        return Slot_inst_decode(instruction);
    }
}

xtensa_isa_internal xtensa_modules;

__attribute__((constructor)) static void complete_tables(void) {
    for (int i = 0; i < MULUH; i++) {
        all_opcodes[i] = opcodes[i];
    }
    slots[0].opcode_decode_fn = decode;
    xtensa_modules = qemu_modules;
    xtensa_modules.num_opcodes = NUM_OPCODES;
    xtensa_modules.opcodes = all_opcodes;
}
