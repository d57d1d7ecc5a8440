// natmod_runner.py's work on an emulated Xtensa, without MicroPython: loads a module's bytes as
// py/persistentcode.c does, and calls its functions, with a runtime that has just what they need. Input: u32
// size, the module, then what runner.c reads; output as runner.c's. Stops if the module refuses anything.
#include <string.h>

#include "guest.h"
#include "py/dynruntime.h"

enum { STATIC_QSTRS = 512, MAX_QSTRS = 32 };
enum { MODULE_SIZE = 64 << 10, HEAP_SIZE = 4 << 20 };
enum { KIND_VIPER = 2 };

#undef mp_fun_table
static mp_fun_table_t table;
static const mp_obj_type_t types[10];

typedef struct {
    void *data;
    size_t size;
} buffer_t;

// --- the runtime ---

static const char *names[MAX_QSTRS];
static mp_obj_t globals[MAX_QSTRS];
static qstr_short_t qstrs[MAX_QSTRS];

static void refuse(void) {
    guest_fail("the module calls what this runtime does not have");
}

static mp_obj_dict_t *swap_globals(mp_obj_dict_t *new_globals) {
    return new_globals;
}

static mp_uint_t native_from_obj(mp_obj_t obj, mp_uint_t type) {
    (void)type;
    return (mp_uint_t)MP_OBJ_SMALL_INT_VALUE(obj);
}

static void store_global(qstr name, mp_obj_t value) {
    globals[name - STATIC_QSTRS] = value;
}

static mp_obj_t load_global(qstr name) {
    (void)name;
    return MP_OBJ_NULL;
}

static void raise_msg(const mp_obj_type_t *type, const char *message) {
    (void)type;
    guest_fail(message);
}

static bool get_buffer(mp_obj_t obj, mp_buffer_info_t *info, mp_uint_t flags) {
    (void)flags;
    const buffer_t *buffer = obj;
    info->buf = buffer->data;
    info->len = buffer->size;
    return true;
}

static void make_runtime(void) {
    for (size_t i = 0; i < sizeof(table) / sizeof(void *); i++) {
        ((void (**)(void)) & table)[i] = refuse;
    }
    table.const_none = (mp_obj_t)&table;
    table.swap_globals = swap_globals;
    table.native_from_obj = native_from_obj;
    table.store_global = store_global;
    table.load_global = load_global;
    table.raise_msg = (void *)raise_msg;
    table.get_buffer = get_buffer;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        (&table.type_type)[i] = &types[i];
    }
}

// --- the loader ---

static uint8_t module[MODULE_SIZE];
static uint8_t text[MODULE_SIZE] __attribute__((aligned(16)));
static uint8_t data[MODULE_SIZE] __attribute__((aligned(16)));
static const uint8_t *next;

static size_t read_number(void) {
    size_t number = 0;
    uint8_t byte;
    do {
        byte = *next++;
        number = number << 7 | (byte & 127);
    } while (byte & 128);
    return number;
}

static void read_header(void) {
    if (next[0] != 'M' || next[1] != 6 || next[2] >> 2 != (MP_NATIVE_ARCH_XTENSAWIN)) {
        guest_fail("not a module for xtensawin of version 6");
    }
    next += 4;
    size_t count = read_number(), objects = read_number();
    if (count > MAX_QSTRS || objects > 0) {
        guest_fail("the module has other constants than names");
    }
    for (size_t i = 0; i < count; i++) {
        size_t length = read_number();
        if (length & 1) {
            qstrs[i] = (qstr_short_t)(length >> 1);
        } else {
            qstrs[i] = (qstr_short_t)(STATIC_QSTRS + i);
            names[i] = (const char *)next;
            next += (length >> 1) + 1;
        }
    }
}

// What a relocation refers to; the kinds below 6 come in two, single and repeated.
static uintptr_t destination(unsigned kind, uintptr_t rodata) {
    switch (kind) {
    case 0:
    case 1:
        return (uintptr_t)text;
    case 2:
    case 3:
        return rodata;
    case 6:
        return (uintptr_t)qstrs;
    case 8:
        return (uintptr_t)&table;
    default:
        if (kind < 9) {
            guest_fail("a relocation to what the module does not have");
        }
        return ((uintptr_t *)&table)[kind - 9];
    }
}

static void relocate(uint8_t *rodata) {
    uintptr_t *place = NULL;
    for (unsigned op; (op = *next++) != 0xFF;) {
        if (op & 1) {
            size_t at = read_number();
            place = (uintptr_t *)(at & 1 ? rodata : text) + (at >> 1);
        }
        unsigned kind = op >> 1;
        size_t count = kind < 6 && (kind & 1) ? read_number() : 1;
        for (; count > 0; count--) {
            *place++ += destination(kind, (uintptr_t)rodata);
        }
    }
}

static void load(void) {
    uint32_t size;
    if (!guest_read(&size, sizeof(size)) || size > sizeof(module) || !guest_read(module, size)) {
        guest_fail("no module");
    }
    next = module;
    read_header();
    size_t kind = read_number();
    if ((kind & 7) != KIND_VIPER) {
        guest_fail("not a native module");
    }
    memcpy(text, next, kind >> 3);
    next += kind >> 3;
    size_t flags = read_number();
    if (flags & MP_SCOPE_FLAG_VIPERBSS) {
        guest_fail("the module has variables");
    }
    if (flags & MP_SCOPE_FLAG_VIPERRODATA) {
        size_t rodata_size = read_number();
        memcpy(data, next, rodata_size);
        next += rodata_size;
    }
    if (flags & MP_SCOPE_FLAG_VIPERRELOC) {
        relocate(data);
    }
}

static void import(void) {
    static mp_module_context_t context;
    mp_obj_fun_bc_t self = {.context = &context};
    mp_obj_t (*entry)(mp_obj_fun_bc_t *, size_t, size_t, mp_obj_t *) = (void *)text;
    if (entry(&self, 0, 0, NULL) != table.const_none) {
        guest_fail("the module's initialization returned something else than None");
    }
}

// --- its functions ---

static int is_name(const char *a, const char *b) {
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static mp_obj_t call(const char *name, size_t count, const mp_obj_t *arguments) {
    for (int i = 0; i < MAX_QSTRS; i++) {
        if (names[i] && is_name(names[i], name)) {
            const mp_obj_fun_builtin_var_t *function = globals[i];
            if (function->base.type != table.type_fun_builtin_var) {
                guest_fail("not a function of a variable number of arguments");
            }
            return function->fun.var(count, arguments);
        }
    }
    guest_fail(name);
}

static uint8_t heap[HEAP_SIZE] __attribute__((aligned(16)));
static size_t heap_used;

static buffer_t allocate(size_t size) {
    buffer_t buffer = {heap + heap_used, size};
    heap_used += (size + 15) & ~(size_t)15;
    if (heap_used > sizeof(heap)) {
        guest_fail("the heap is too small");
    }
    return buffer;
}

static void feed(mp_obj_t *model_and_state, uint16_t token, buffer_t *logits) {
    buffer_t tokens = {&token, sizeof(token)};
    mp_obj_t arguments[4] = {model_and_state[0], model_and_state[1], &tokens, MP_OBJ_NEW_SMALL_INT(1)};
    call("feed", 4, arguments);
    arguments[2] = logits;
    call("logits", 3, arguments);
}

static void run(uint32_t model_size, uint32_t window, uint32_t count, uint32_t begin) {
    const int32_t ok = 0;
    heap_used = 0;
    buffer_t model = allocate(model_size), tokens = allocate(2 * count);
    guest_read(model.data, model.size);
    guest_read(tokens.data, tokens.size);
    mp_obj_t arguments[3] = {&model, MP_OBJ_NEW_SMALL_INT((mp_int_t)window), NULL};
    buffer_t state = allocate((size_t)MP_OBJ_SMALL_INT_VALUE(call("state_size", 2, arguments)));
    arguments[2] = arguments[1];
    arguments[1] = &state;
    call("init", 3, arguments);
    guest_write(&ok, sizeof(ok));
    if (begin) {
        call("begin", 2, arguments);
    }
    buffer_t logits = allocate(4 * (size_t)((const uint16_t *)model.data)[8]);
    for (uint32_t i = 0; i < count; i++) {
        feed(arguments, ((const uint16_t *)tokens.data)[i], &logits);
        guest_write(&ok, sizeof(ok));
        guest_write(logits.data, logits.size);
    }
}

void guest_main(void) {
    make_runtime();
    load();
    import();
    uint32_t header[4];
    while (guest_read(header, sizeof(header))) {
        run(header[0], header[1], header[2], header[3]);
    }
}
