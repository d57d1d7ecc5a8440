// A plugin of QEMU that counts how often each instruction of a range runs.
//
// Arguments: counts (a descriptor, of a file of u32[size]), start and size (of the range, in bytes).
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// What is used of QEMU's interface.
typedef struct qemu_plugin_tb tb_t;
typedef struct qemu_plugin_insn insn_t;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t id, tb_t *block));
size_t qemu_plugin_tb_n_insns(const tb_t *block);
insn_t *qemu_plugin_tb_get_insn(const tb_t *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const insn_t *instruction);
void qemu_plugin_register_vcpu_insn_exec_cb(
    insn_t *instruction, void (*executed)(unsigned cpu, void *data), int flags, void *data);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_VERSION;

static uint32_t *counts;
static uint64_t start, size;
static uint32_t *last;

// An instruction that finds no room in the register window begins again when QEMU has made some, and is no
// second one. None jumps to itself.
static void count(unsigned cpu, void *counter) {
    (void)cpu;
    *(uint32_t *)counter += counter != last;
    last = counter;
}

static void watch(uint64_t id, tb_t *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        insn_t *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t offset = qemu_plugin_insn_vaddr(instruction) - start;
        if (offset < size) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, count, 0, counts + offset);
        }
    }
}

static uint64_t argument(int argc, char **argv, const char *name) {
    size_t length = strlen(name);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=') {
            return strtoull(argv[i] + length + 1, NULL, 0);
        }
    }
    return 0;
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    uint64_t id, const void *info, int argc, char **argv) {
    (void)info;
    int file = (int)argument(argc, argv, "counts");
    start = argument(argc, argv, "start");
    size = argument(argc, argv, "size");
    void *memory = mmap(NULL, sizeof(*counts) * size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        return 1;
    }
    counts = memory;
    qemu_plugin_register_vcpu_tb_trans_cb(id, watch);
    return 0;
}
