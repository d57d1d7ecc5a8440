// The native module `_bitnet`: native/core for MicroPython. Every function takes the model and the state as
// buffers and checks both, because a Python program can pass anything. No function allocates.
#include "bitnet.h"
#include "py/dynruntime.h"

static const char *error_text(int err) {
    switch (err) {
    case BN_ERR_ALIGN:
        return "model and state must start at a multiple of 4: load the file to an aligned place";
    case BN_ERR_TRUNCATED:
        return "model: bytes are missing at its end: copy the file again";
    case BN_ERR_MAGIC:
        return "model: not a .bitnet file";
    case BN_ERR_VERSION:
        return "model: another version of the format: export it again, or update this firmware";
    case BN_ERR_CHECKSUM:
        return "model: checksum differs: the file is damaged, copy it again";
    case BN_ERR_CONFIG:
        return "model: a header field is out of range: export it again";
    case BN_ERR_LAYOUT:
        return "model: its parts do not fit together: export it again";
    case BN_ERR_STATE:
        return "state: too small, or made for another model: call init with state_size() bytes";
    case BN_ERR_TOKEN:
        return "tokens: a token is not below the vocabulary's size";
    case BN_ERR_APART:
        return "model: its layers are apart: it needs PSRAM on pins";
    case BN_ERR_EMPTY:
        return "no token fed since reset or begin: call feed first";
    default:
        return "an argument is out of range";
    }
}

// Returns a result, raises an error.
static int check(int result) {
    if (result < 0) {
        mp_raise_ValueError(error_text(result));
    }
    return result;
}

static void get_model(mp_obj_t obj, mp_buffer_info_t *model) {
    mp_get_buffer_raise(obj, model, MP_BUFFER_READ);
}

// During a call the core trusts what it finds in the state. So nothing that the call writes, or reads while
// it writes, may be part of the state.
static void refuse_overlap(const mp_buffer_info_t *buffer, const mp_buffer_info_t *state) {
    uintptr_t start = (uintptr_t)buffer->buf, state_start = (uintptr_t)state->buf;
    if (start < state_start + state->len && state_start < start + buffer->len) {
        mp_raise_ValueError("a buffer must not be part of the state");
    }
}

// Gets args[0], the model, and args[1], memory for a state.
static void get_buffers(const mp_obj_t *args, mp_buffer_info_t *model, mp_buffer_info_t *state) {
    get_model(args[0], model);
    mp_get_buffer_raise(args[1], state, MP_BUFFER_RW);
    refuse_overlap(model, state);
}

// The same, but args[1] must be a state that init made for this model.
static void get_model_and_state(const mp_obj_t *args, mp_buffer_info_t *model, mp_buffer_info_t *state) {
    get_buffers(args, model, state);
    check(bn_check_state(state->buf, state->len, model->buf, model->len));
}

static int get_int(mp_obj_t obj, int low, int high, const char *refusal) {
    mp_int_t value = mp_obj_get_int(obj);
    if (value < low || value > high) {
        mp_raise_ValueError(refusal);
    }
    return (int)value;
}

static unsigned get_window(size_t n_args, const mp_obj_t *args, size_t index) {
    const char *refusal = "window must be 1 to 256, or 0 for the model's own";
    return n_args > index ? (unsigned)get_int(args[index], 0, BN_MAX_WINDOW, refusal) : 0;
}

static unsigned get_placement(size_t n_args, const mp_obj_t *args, size_t index) {
    const char *refusal = "placement must be 0 (in place), 1 (copied) or 2 (streamed)";
    return n_args > index ? (unsigned)get_int(args[index], BN_IN_PLACE, BN_STREAMED, refusal) : 0;
}

static int get_dma_channel(mp_obj_t obj) {
    return get_int(obj, BN_NO_DMA, BN_LAST_DMA_CHANNEL, "dma_channel must be 0 to 11, or -1 for none");
}

// A buffer of at least `count` u16, which must not be part of the state.
static uint16_t *get_u16(mp_obj_t obj, size_t count, unsigned flags, const mp_buffer_info_t *state) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(obj, &info, flags);
    if ((uintptr_t)info.buf & 1 || info.len >> 1 < count) {
        mp_raise_ValueError("tokens and permille must be array('H') of at least count items");
    }
    refuse_overlap(&info, state);
    return info.buf;
}

static size_t get_count(mp_obj_t obj) {
    return (size_t)get_int(obj, 0, INT_MAX, "count must not be negative");
}

// check(model)
static mp_obj_t bitnet_check(mp_obj_t model_obj) {
    mp_buffer_info_t model;
    get_model(model_obj, &model);
    check(bn_check(model.buf, model.len));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(bitnet_check_obj, bitnet_check);

// state_size(model, window=0, placement=0) -> bytes
static mp_obj_t bitnet_state_size(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t model;
    get_model(args[0], &model);
    int size = check(bn_state_size(model.buf, model.len, get_window(n_args, args, 1)));
    unsigned placement = get_placement(n_args, args, 2);
    return MP_OBJ_NEW_SMALL_INT(size + check(bn_placement_size(model.buf, model.len, placement)));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_state_size_obj, 1, 3, bitnet_state_size);

// init(model, state, window=0, placement=0, dma_channel=-1)
static mp_obj_t bitnet_init(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t model, state;
    get_buffers(args, &model, &state);
    unsigned window = get_window(n_args, args, 2), placement = get_placement(n_args, args, 3);
    int dma_channel = n_args > 4 ? get_dma_channel(args[4]) : BN_NO_DMA;
    check(bn_init(state.buf, state.len, model.buf, model.len, window));
    check(bn_place(state.buf, state.len, model.buf, placement, dma_channel));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_init_obj, 2, 5, bitnet_init);

// init_psram(model, state, window, dma_channel, request_channel, state_machine) -> whether PSRAM holds the
// model's layers
static mp_obj_t bitnet_init_psram(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t model, state;
    get_buffers(args, &model, &state);
    check(bn_init(state.buf, state.len, model.buf, model.len, get_window(n_args, args, 2)));
    int result = bn_place_psram(state.buf, state.len, model.buf, get_dma_channel(args[3]),
        get_dma_channel(args[4]), (int)mp_obj_get_int(args[5]));
    if (result == BN_ERR_LAYERS) {
        return mp_const_false;
    }
    check(result);
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_init_psram_obj, 6, 6, bitnet_init_psram);

// reset(model, state)
static mp_obj_t bitnet_reset(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state;
    get_model_and_state(args, &model, &state);
    check(bn_reset(state.buf, model.buf));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_reset_obj, 2, 2, bitnet_reset);

// begin(model, state) -> position
static mp_obj_t bitnet_begin(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state;
    get_model_and_state(args, &model, &state);
    return MP_OBJ_NEW_SMALL_INT(check(bn_begin(state.buf, model.buf)));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_begin_obj, 2, 2, bitnet_begin);

typedef struct {
    bn_deadline_t base;
    mp_obj_t clock, ticks;
} deadline_t;

// Ticks are small integers, where the object for n is 2n + 1. They wrap around to 0 after the largest one,
// 2^30 − 1 on 32 bits, so the sign of their difference is the bit below the top one in the difference of the
// objects.
static int has_passed(const bn_deadline_t *base) {
    const deadline_t *deadline = (const deadline_t *)base;
    mp_obj_t now = mp_call_function_n_kw(deadline->clock, 0, 0, NULL);
    return (mp_int_t)(((mp_uint_t)now - (mp_uint_t)deadline->ticks) << 1) >= 0;
}

// feed(model, state, tokens, count[, clock, ticks]) -> whether all tokens had run before clock() reached
// ticks. The clock must be a function in C that raises nothing, such as time.ticks_ms: an exception would
// leave a transfer running.
static mp_obj_t bitnet_feed(size_t n_args, const mp_obj_t *args) {
    mp_buffer_info_t model, state;
    get_model_and_state(args, &model, &state);
    size_t count = get_count(args[3]);
    const uint16_t *tokens = get_u16(args[2], count, MP_BUFFER_READ, &state);
    deadline_t deadline;
    const bn_deadline_t *limit = NULL;
    if (n_args == 6) {
        deadline.base.has_passed = has_passed;
        deadline.clock = args[4];
        deadline.ticks = args[5];
        limit = &deadline.base;
    }
    int result = bn_feed(state.buf, model.buf, tokens, count, limit);
    if (result == BN_ERR_DEADLINE) {
        return mp_const_false;
    }
    check(result);
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_feed_obj, 4, 6, bitnet_feed);

// position(model, state) -> tokens since the last reset, including those of a prefix
static mp_obj_t bitnet_position(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state;
    get_model_and_state(args, &model, &state);
    return MP_OBJ_NEW_SMALL_INT(check(bn_position(state.buf, model.buf)));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_position_obj, 2, 2, bitnet_position);

// logits(model, state, out): int32[vocab_size]
static mp_obj_t bitnet_logits(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state, out;
    get_model_and_state(args, &model, &state);
    mp_get_buffer_raise(args[2], &out, MP_BUFFER_RW);
    if ((uintptr_t)out.buf & 3 || out.len >> 2 < (size_t)bn_vocab_size(model.buf)) {
        mp_raise_ValueError("out must have 4 bytes per token of the vocabulary, from a multiple of 4 on");
    }
    refuse_overlap(&out, &state);
    check(bn_logits(state.buf, model.buf, out.buf));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_logits_obj, 3, 3, bitnet_logits);

// top_k(model, state, allowed, tokens, permille or None, count) -> how many tokens were found
static mp_obj_t bitnet_top_k(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state, allowed;
    get_model_and_state(args, &model, &state);
    mp_get_buffer_raise(args[2], &allowed, MP_BUFFER_READ);
    if (allowed.len < (size_t)(bn_vocab_size(model.buf) + 7) >> 3) {
        mp_raise_ValueError("allowed must have a bit per token of the vocabulary");
    }
    refuse_overlap(&allowed, &state);
    size_t count = get_count(args[5]);
    uint16_t *tokens = get_u16(args[3], count, MP_BUFFER_RW, &state);
    uint16_t *permille = NULL;
    if (args[4] != mp_const_none) {
        permille = get_u16(args[4], count, MP_BUFFER_RW, &state);
    }
    int found = bn_top_k(state.buf, model.buf, allowed.buf, (unsigned)count, tokens, permille);
    return MP_OBJ_NEW_SMALL_INT(check(found));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_top_k_obj, 6, 6, bitnet_top_k);

// save(model, state, buffer or None) -> bytes
static mp_obj_t bitnet_save(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state, buffer;
    get_model_and_state(args, &model, &state);
    int size = check(bn_save(state.buf, model.buf, NULL, 0));
    if (args[2] != mp_const_none) {
        mp_get_buffer_raise(args[2], &buffer, MP_BUFFER_RW);
        if (buffer.len < (size_t)size) {
            mp_raise_ValueError("buffer: too small: save(model, state, None) tells the size");
        }
        refuse_overlap(&buffer, &state);
        check(bn_save(state.buf, model.buf, buffer.buf, buffer.len));
    }
    return MP_OBJ_NEW_SMALL_INT(size);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_save_obj, 3, 3, bitnet_save);

// restore(model, state, buffer)
static mp_obj_t bitnet_restore(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t model, state, buffer;
    get_model_and_state(args, &model, &state);
    mp_get_buffer_raise(args[2], &buffer, MP_BUFFER_READ);
    refuse_overlap(&buffer, &state);
    if (bn_restore(state.buf, model.buf, buffer.buf, buffer.len) < 0) {
        mp_raise_ValueError("buffer: not a snapshot of this model and window: save it again");
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(bitnet_restore_obj, 3, 3, bitnet_restore);

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    (void)n_args;
    (void)n_kw;
    (void)args;
    MP_DYNRUNTIME_INIT_ENTRY

    mp_store_global(MP_QSTR_check, MP_OBJ_FROM_PTR(&bitnet_check_obj));
    mp_store_global(MP_QSTR_state_size, MP_OBJ_FROM_PTR(&bitnet_state_size_obj));
    mp_store_global(MP_QSTR_init, MP_OBJ_FROM_PTR(&bitnet_init_obj));
    mp_store_global(MP_QSTR_init_psram, MP_OBJ_FROM_PTR(&bitnet_init_psram_obj));
    mp_store_global(MP_QSTR_reset, MP_OBJ_FROM_PTR(&bitnet_reset_obj));
    mp_store_global(MP_QSTR_begin, MP_OBJ_FROM_PTR(&bitnet_begin_obj));
    mp_store_global(MP_QSTR_feed, MP_OBJ_FROM_PTR(&bitnet_feed_obj));
    mp_store_global(MP_QSTR_position, MP_OBJ_FROM_PTR(&bitnet_position_obj));
    mp_store_global(MP_QSTR_logits, MP_OBJ_FROM_PTR(&bitnet_logits_obj));
    mp_store_global(MP_QSTR_top_k, MP_OBJ_FROM_PTR(&bitnet_top_k_obj));
    mp_store_global(MP_QSTR_save, MP_OBJ_FROM_PTR(&bitnet_save_obj));
    mp_store_global(MP_QSTR_restore, MP_OBJ_FROM_PTR(&bitnet_restore_obj));

    MP_DYNRUNTIME_INIT_EXIT
}
