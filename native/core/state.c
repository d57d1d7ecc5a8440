// The state: where its buffers lie, whether it belongs to a model, and how the cache is reset, filled from
// the model's prefix, saved and restored.
#include "core.h"

enum { STATE_MAGIC = 0x53544E42, SNAPSHOT_MAGIC = 0x50534E42 }; // "BNTS", "BNSP"
enum { LARGEST_SMALL_INT = 0x3FFFFFFF };                        // that every MicroPython has

// The beginning of a snapshot. After it come x and, layer by layer, the filled cache rows.
typedef struct {
    uint32_t magic, crc, window, position, slot, filled, has_x;
} snapshot_t;

// First come the buffers that are scratch, then the cache. For any valid shape that is at most 2^25 bytes.
static void locate_buffers(const bn_config_t *config, uint32_t window, bn_buffers_t *buffers) {
    uint32_t hidden = bn_align(config->hidden_size, BN_ROWS_PER_BLOCK);
    uint32_t inner = bn_align(config->intermediate_size, BN_ROWS_PER_BLOCK);
    uint32_t query = bn_align(bn_query_size(config), BN_ROWS_PER_BLOCK);
    uint32_t kv = bn_align(bn_kv_size(config), BN_ROWS_PER_BLOCK);
    uint32_t vocab = bn_align(config->vocab_size, BN_ROWS_PER_BLOCK);
    uint32_t widest = BN_MAX(BN_MAX(hidden, inner), query);
    uint32_t type = config->head_type == BN_TERNARY ? BN_TERNARY : config->weight_type;
    // Rounded up to an even number, because the assembly for Xtensa has the tables of two groups in one.
    uint32_t tables = bn_align(bn_groups(type, widest), 2);
    tables = tables < BN_PAIR_TABLES_AT_ONCE ? tables : BN_PAIR_TABLES_AT_ONCE;

    buffers->window = window;
    buffers->cache_row = bn_cache_row_size(config);
    buffers->x = bn_align((uint32_t)sizeof(bn_state_t), 4);
    buffers->work = buffers->x + 4 * hidden;
    buffers->out = buffers->work + 4 * widest;
    buffers->codes = buffers->out + 4 * BN_MAX(BN_MAX(hidden, inner), 2 * kv);
    buffers->rope = buffers->codes + bn_align(widest + 4, 8);
    buffers->token_size = buffers->rope + 2u * config->head_dim - buffers->x;
    buffers->scores = buffers->x + 2 * buffers->token_size;
    buffers->softmax_table = buffers->scores + 4 * window;
    buffers->pair_sums = buffers->softmax_table + BN_SOFTMAX_TABLE_SIZE;
    buffers->tables = buffers->pair_sums + 4 * BN_MAX(BN_MAX(query + 2 * kv, 2 * inner), hidden);
    buffers->logits = buffers->tables + 4 * BN_TABLE_SIZE * tables;
    buffers->cache = buffers->logits + 4 * vocab;
    buffers->size = buffers->cache + config->num_layers * window * buffers->cache_row;
}

int bn_state_size(const void *model, size_t size, unsigned window) {
    bn_config_t config;
    bn_buffers_t buffers;
    int err = bn_read_header(model, size, &config);
    if (err) {
        return err;
    }
    if (window > BN_MAX_WINDOW) {
        return BN_ERR_RANGE;
    }
    locate_buffers(&config, window ? window : config.window, &buffers);
    return (int)buffers.size;
}

int bn_init(void *memory, size_t state_size, const void *model, size_t size, unsigned window) {
    int needed = bn_state_size(model, size, window);
    if (needed < 0) {
        return needed;
    }
    if ((uintptr_t)memory & 3) {
        return BN_ERR_ALIGN;
    }
    if (state_size < (size_t)needed) {
        return BN_ERR_STATE;
    }
    int err = bn_check(model, size);
    if (err) {
        return err;
    }
    bn_state_t *state = memory;
    state->magic = STATE_MAGIC;
    state->file_size = ((const uint32_t *)model)[BN_HEADER_FILE_SIZE];
    state->crc = ((const uint32_t *)model)[BN_HEADER_CRC];
    bn_read_header(model, size, &state->config);
    bn_locate_weights(&state->config, &state->layout);
    locate_buffers(&state->config, window ? window : state->config.window, &state->buffers);
    bn_fill_softmax_table((uint8_t *)memory + state->buffers.softmax_table);
    state->placement = state->config.layers_apart ? BN_UNPLACED : BN_IN_PLACE;
    state->dma_channel = BN_NO_DMA;
    state->request = 0;
    state->fetched = 0;
    return bn_reset(state, model);
}

// Whether the state was initialized for this model, as far as its header tells.
int bn_check_owner(const bn_state_t *state, const uint8_t *model) {
    if (((uintptr_t)state | (uintptr_t)model) & 3) {
        return BN_ERR_ALIGN;
    }
    const uint32_t *header = (const uint32_t *)model;
    if (state->magic != STATE_MAGIC || state->file_size != header[BN_HEADER_FILE_SIZE] ||
        state->crc != header[BN_HEADER_CRC]) {
        return BN_ERR_STATE;
    }
    return BN_OK;
}

static int is_equal(const void *a, const void *b, uint32_t size) {
    uint32_t difference = 0;
    for (uint32_t i = 0; i < size; i++) {
        difference |= (uint32_t)(((const uint8_t *)a)[i] ^ ((const uint8_t *)b)[i]);
    }
    return difference == 0;
}

// Computes all offsets again and does not trust those in the state, because a Python program can pass any
// buffer.
int bn_check_state(const void *memory, size_t state_size, const void *model, size_t size) {
    const bn_state_t *state = memory;
    bn_config_t config;
    bn_layout_t layout;
    bn_buffers_t buffers;
    int err = bn_read_header(model, size, &config);
    if (err) {
        return err;
    }
    if ((uintptr_t)memory & 3) {
        return BN_ERR_ALIGN;
    }
    if (state_size < sizeof(bn_state_t)) {
        return BN_ERR_STATE;
    }
    err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    uint32_t window = state->buffers.window;
    if (window < 1 || window > BN_MAX_WINDOW) {
        return BN_ERR_STATE;
    }
    bn_locate_weights(&config, &layout);
    locate_buffers(&config, window, &buffers);
    if (layout.end > state->file_size || buffers.size > state_size || state->slot >= window ||
        state->filled > window || !is_equal(&config, &state->config, sizeof(config)) ||
        !is_equal(&layout, &state->layout, sizeof(layout)) ||
        !is_equal(&buffers, &state->buffers, sizeof(buffers))) {
        return BN_ERR_STATE;
    }
    if (state->placement > BN_STREAMED || bn_room(state) > state_size - buffers.size ||
        state->fetched > BN_PARTS || !bn_is_placed(state)) {
        return BN_ERR_STATE;
    }
    return BN_OK;
}

int bn_reset(void *memory, const void *model) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    state->position = 0;
    state->slot = 0;
    state->filled = 0;
    state->has_x = 0;
    return BN_OK;
}

// Fills the first `count` rows of every layer's cache from those at `from`, where one layer follows the
// other. Rows are filled from slot 0 on, so there are no other filled rows.
static void load_rows(bn_state_t *state, const uint8_t *from, uint32_t count) {
    const bn_buffers_t *b = &state->buffers;
    uint8_t *cache = (uint8_t *)state + b->cache;
    for (int i = 0; i < state->config.num_layers; i++) {
        bn_copy(cache, from, count * b->cache_row);
        from += count * b->cache_row;
        cache += b->window * b->cache_row;
    }
}

int bn_begin(void *memory, const void *model) {
    bn_state_t *state = memory;
    bn_prefix_t prefix;
    int err = bn_reset(state, model);
    err = err ? err : bn_locate_prefix(model, &state->config, &prefix);
    if (err) {
        return err;
    }
    uint32_t window = state->buffers.window;
    if (prefix.positions == 0 || prefix.positions > window) {
        return 0;
    }
    load_rows(state, prefix.rows, prefix.positions);
    state->position = prefix.positions;
    state->slot = prefix.positions < window ? prefix.positions : 0;
    state->filled = prefix.positions;
    return (int)prefix.positions;
}

int bn_position(const void *memory, const void *model) {
    const bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    return state->position > LARGEST_SMALL_INT ? LARGEST_SMALL_INT : (int)state->position;
}

static uint32_t snapshot_size(const bn_state_t *state, uint32_t filled) {
    return (uint32_t)sizeof(snapshot_t) + 4u * state->config.hidden_size +
           state->config.num_layers * filled * state->buffers.cache_row;
}

int bn_save(const void *memory, const void *model, void *buffer, size_t size) {
    const bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    uint32_t needed = snapshot_size(state, state->filled);
    if (buffer == NULL) {
        return (int)needed;
    }
    if (size < needed) {
        return BN_ERR_RANGE;
    }
    const bn_buffers_t *b = &state->buffers;
    snapshot_t header;
    header.magic = SNAPSHOT_MAGIC;
    header.crc = state->crc;
    header.window = b->window;
    header.position = state->position;
    header.slot = state->slot;
    header.filled = state->filled;
    header.has_x = state->has_x;
    uint8_t *to = buffer;
    bn_copy(to, &header, sizeof(header));
    to += sizeof(header);
    bn_copy(to, (const uint8_t *)memory + b->x, 4u * state->config.hidden_size);
    to += 4u * state->config.hidden_size;
    const uint8_t *cache = (const uint8_t *)memory + b->cache;
    for (int i = 0; i < state->config.num_layers; i++) {
        bn_copy(to, cache, state->filled * b->cache_row);
        to += state->filled * b->cache_row;
        cache += b->window * b->cache_row;
    }
    return (int)needed;
}

int bn_restore(void *memory, const void *model, const void *buffer, size_t size) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    const bn_buffers_t *b = &state->buffers;
    snapshot_t header;
    if (size < sizeof(header)) {
        return BN_ERR_RANGE;
    }
    bn_copy(&header, buffer, sizeof(header));
    if (header.magic != SNAPSHOT_MAGIC || header.filled > b->window || header.slot >= b->window ||
        (header.filled < b->window && header.slot != header.filled)) {
        return BN_ERR_RANGE;
    }
    if (header.crc != state->crc || header.window != b->window) {
        return BN_ERR_STATE;
    }
    uint32_t needed = snapshot_size(state, header.filled);
    if (size < needed) {
        return BN_ERR_RANGE;
    }
    const uint8_t *from = (const uint8_t *)buffer + sizeof(header);
    bn_copy((uint8_t *)memory + b->x, from, 4u * state->config.hidden_size);
    from += 4u * state->config.hidden_size;
    load_rows(state, from, header.filled);
    state->position = header.position;
    state->slot = header.slot;
    state->filled = header.filled;
    state->has_x = header.has_x;
    return (int)needed;
}
