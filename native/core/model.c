// Where everything lies in a model file, and whether it can be trusted. Sizes are compared by subtraction
// from what is left, never by adding up what the file claims, so no claim can overflow.
#include "core.h"

enum { VERSION = 2 };
enum { OFFSET_FLAGS = 6, OFFSET_FILE_SIZE = 8, OFFSET_CRC = 12, OFFSET_SHAPE = 16, OFFSET_PARTS = 32 };
enum { OFFSET_LAYERS_CRC = 52, OFFSET_RESERVED = 56 };
enum { LAYERS_APART = 1 };
enum { PREFIX_HEADER_SIZE = 4, TERNARY_BYTES = 243 };

// In the file's order.
enum { WEIGHTS, TOKENIZER, LABELS, METADATA, PREFIX, PARTS };

typedef struct {
    const uint8_t *start;
    uint32_t size;
} part_t;

static uint32_t read_u16(const uint8_t *data) {
    return data[0] | (uint32_t)data[1] << 8;
}

static uint32_t read_u32(const uint8_t *data) {
    return read_u16(data) | read_u16(data + 2) << 16;
}

static int is_within(uint32_t x, uint32_t low, uint32_t high) {
    return low <= x && x <= high;
}

static int all_zero(const uint8_t *data, uint32_t size) {
    uint32_t all = 0;
    for (uint32_t i = 0; i < size; i++) {
        all |= data[i];
    }
    return all == 0;
}

// By nibbles, from a table made on the stack: 16 entries are cheap, and constant tables misread on some
// targets.
// Goes on from the CRC-32 of what lies before the data, 0 if that is nothing.
uint32_t bn_crc32(uint32_t crc, const uint8_t *data, uint32_t size) {
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t entry = i;
        for (int bit = 0; bit < 4; bit++) {
            entry = entry >> 1 ^ (entry & 1 ? 0xEDB88320 : 0);
        }
        table[i] = entry;
    }
    crc = ~crc;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static int check_shape(const bn_config_t *c) {
    if (!is_within(c->vocab_size, 1, 32768) || !is_within(c->hidden_size, 8, 1024) ||
        !is_within(c->intermediate_size, 8, 4096) || !is_within(c->num_layers, 1, 32) ||
        !is_within(c->num_heads, 1, BN_MAX_HEADS) || !is_within(c->num_kv_heads, 1, c->num_heads) ||
        !is_within(c->head_dim, 4, BN_MAX_HEAD_DIM) || !is_within(c->window, 1, 256)) {
        return BN_ERR_CONFIG;
    }
    uint32_t heads = c->num_heads;
    while (heads >= c->num_kv_heads) {
        heads -= c->num_kv_heads;
    }
    if (heads != 0 || c->head_dim & 1 || c->num_heads * c->head_dim > 1024) {
        return BN_ERR_CONFIG;
    }
    int activation_bits = c->activation_bits;
    if (!is_within(c->weight_type, BN_BINARY, BN_TERNARY) || !is_within(c->head_type, BN_TIED, BN_TERNARY) ||
        !(activation_bits == 8 || activation_bits == 4 || activation_bits == 2) ||
        !(c->embedding_bits == 8 || c->embedding_bits == 4)) {
        return BN_ERR_CONFIG;
    }
    return BN_OK;
}

static void read_shape(const uint8_t *data, bn_config_t *config) {
    config->vocab_size = (uint16_t)read_u16(data);
    config->hidden_size = (uint16_t)read_u16(data + 2);
    config->intermediate_size = (uint16_t)read_u16(data + 4);
    config->num_layers = data[6];
    config->num_heads = data[7];
    config->num_kv_heads = data[8];
    config->head_dim = data[9];
    config->window = (uint16_t)read_u16(data + 10);
    config->weight_type = data[12];
    config->activation_bits = data[13];
    config->embedding_bits = data[14];
    config->head_type = data[15];
}

uint32_t bn_layers_crc(const uint8_t *model) {
    return read_u32(model + OFFSET_LAYERS_CRC);
}

// That this is a whole file of the right kind, whatever it holds.
static int check_identity(const uint8_t *model, size_t size) {
    if ((uintptr_t)model & 3) {
        return BN_ERR_ALIGN;
    }
    if (size < BN_HEADER_SIZE) {
        return BN_ERR_TRUNCATED;
    }
    if (read_u32(model) != 0x4E544942) { // "BITN"
        return BN_ERR_MAGIC;
    }
    if (read_u16(model + 4) != VERSION) {
        return BN_ERR_VERSION;
    }
    uint32_t file_size = read_u32(model + OFFSET_FILE_SIZE);
    if (file_size > size) {
        return BN_ERR_TRUNCATED;
    }
    return file_size < BN_HEADER_SIZE ? BN_ERR_LAYOUT : BN_OK;
}

static int read_config(const uint8_t *model, bn_config_t *config) {
    config->layers_apart = read_u16(model + OFFSET_FLAGS);
    if (config->layers_apart > LAYERS_APART || (!config->layers_apart && bn_layers_crc(model) != 0) ||
        !all_zero(model + OFFSET_RESERVED, BN_HEADER_SIZE - OFFSET_RESERVED)) {
        return BN_ERR_CONFIG;
    }
    read_shape(model + OFFSET_SHAPE, config);
    return check_shape(config);
}

// Enough to compute any offset, in no time; only bn_check looks at what lies behind the header.
int bn_read_header(const uint8_t *model, size_t size, bn_config_t *config) {
    int err = check_identity(model, size);
    return err ? err : read_config(model, config);
}

// ⌈columns / 8⌉ or, for columns ≤ 4096, ⌈columns / 5⌉ by the reciprocal 52429 / 2^18.
uint32_t bn_groups(uint32_t weight_type, uint32_t columns) {
    return weight_type == BN_BINARY ? (columns + 7) >> 3 : ((columns + 4) * 52429) >> 18;
}

static uint32_t matrix_size(uint32_t weight_type, uint32_t rows, uint32_t columns) {
    return 4 + bn_groups(weight_type, columns) * bn_align(rows, BN_ROWS_PER_BLOCK);
}

int bn_vocab_size(const void *model) {
    return (int)read_u16((const uint8_t *)model + OFFSET_SHAPE);
}

uint32_t bn_query_size(const bn_config_t *config) {
    return (uint32_t)config->num_heads * config->head_dim;
}

uint32_t bn_kv_size(const bn_config_t *config) {
    return (uint32_t)config->num_kv_heads * config->head_dim;
}

uint32_t bn_embedding_row_size(const bn_config_t *config) {
    uint32_t size = config->embedding_bits == 8 ? config->hidden_size : (config->hidden_size + 1u) >> 1;
    return bn_align(size, 4);
}

// One item after the other, as in SPEC.md 1.2 and 1.7. At most 2^28 bytes for any valid shape.
void bn_locate_weights(const bn_config_t *config, bn_weights_t *weights) {
    uint32_t hidden = config->hidden_size, inner = config->intermediate_size, type = config->weight_type;
    uint32_t query = bn_query_size(config), kv = bn_kv_size(config);
    uint32_t part = config->layers_apart ? BN_PSRAM_BURST : 4;

    weights->attn_norm = 0;
    weights->q = bn_align(2 * hidden, 4);
    weights->k = weights->q + matrix_size(type, query, hidden);
    weights->v = weights->k + matrix_size(type, kv, hidden);
    weights->attn_sub_norm = weights->v + matrix_size(type, kv, hidden);
    weights->o = weights->attn_sub_norm + bn_align(2 * query, 4);
    weights->ffn_norm = bn_align(weights->o + matrix_size(type, hidden, query), part);
    weights->gate = weights->ffn_norm + bn_align(2 * hidden, 4);
    weights->up = weights->gate + matrix_size(type, inner, hidden);
    weights->ffn_sub_norm = bn_align(weights->up + matrix_size(type, inner, hidden), part);
    weights->down = weights->ffn_sub_norm + bn_align(2 * inner, 4);
    weights->layer_size = bn_align(weights->down + matrix_size(type, hidden, inner), part);

    weights->rope_step = BN_HEADER_SIZE;
    weights->embedding = weights->rope_step + 2 * config->head_dim;
    weights->layers = weights->embedding + 4 + config->vocab_size * bn_embedding_row_size(config);
    weights->final_norm = weights->layers;
    if (!config->layers_apart) {
        weights->final_norm += config->num_layers * weights->layer_size;
    }
    weights->head = weights->final_norm + bn_align(2 * hidden, 4);
    weights->end =
        weights->head +
        (config->head_type == BN_TIED ? 4 : matrix_size(config->head_type, config->vocab_size, hidden));
}

static int is_scale(const uint8_t *data) {
    int exponent = bn_read_scale(data).e;
    return is_within(read_u16(data), 1 << 14, (1 << 15) - 1) && -64 <= exponent && exponent <= 64;
}

// Sums of rows are bounded only if every byte stands for weights, which a binary one always does.
static int is_matrix(const uint8_t *data, uint32_t type, uint32_t rows, uint32_t columns) {
    int sound = is_scale(data);
    if (type == BN_TERNARY) {
        for (uint32_t i = 4; i < matrix_size(type, rows, columns); i++) {
            sound = sound && data[i] < TERNARY_BYTES;
        }
    }
    return sound;
}

int bn_is_part(const uint8_t *layer, uint32_t part, const bn_config_t *config, const bn_weights_t *w) {
    uint32_t hidden = config->hidden_size, inner = config->intermediate_size, type = config->weight_type;
    uint32_t query = bn_query_size(config), kv = bn_kv_size(config);
    switch (part) {
    case BN_ATTENTION_PART:
        return is_matrix(layer + w->q, type, query, hidden) && is_matrix(layer + w->k, type, kv, hidden) &&
               is_matrix(layer + w->v, type, kv, hidden) && is_matrix(layer + w->o, type, hidden, query);
    case BN_GATE_UP_PART:
        return is_matrix(layer + w->gate, type, inner, hidden) &&
               is_matrix(layer + w->up, type, inner, hidden);
    default:
        return is_matrix(layer + w->down, type, hidden, inner);
    }
}

static int check_weights(const uint8_t *model, const bn_config_t *config, const bn_weights_t *w) {
    int sound = is_scale(model + w->embedding);
    if (config->head_type == BN_TIED) {
        sound = sound && is_scale(model + w->head);
    } else {
        sound =
            sound && is_matrix(model + w->head, config->head_type, config->vocab_size, config->hidden_size);
    }
    for (uint32_t i = 0; i < config->num_layers && !config->layers_apart; i++) {
        for (uint32_t part = 0; part < BN_PARTS; part++) {
            sound = sound && bn_is_part(model + w->layers + i * w->layer_size, part, config, w);
        }
    }
    return sound ? BN_OK : BN_ERR_LAYOUT;
}

static int check_merges(const uint8_t *merges, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        // A merge joins two tokens that exist before it.
        if (read_u16(merges + 4 * i) >= 256 + i || read_u16(merges + 4 * i + 2) >= 256 + i) {
            return BN_ERR_LAYOUT;
        }
    }
    return BN_OK;
}

static int check_merge_hash(const uint8_t *hash, uint32_t hash_size, uint32_t merge_count) {
    uint32_t empty = 0;
    for (uint32_t i = 0; i < hash_size; i++) {
        uint32_t merge = read_u16(hash + 2 * i);
        if (merge == 0xFFFF) {
            empty++;
        } else if (merge >= merge_count) {
            return BN_ERR_LAYOUT;
        }
    }
    return 4 * empty >= hash_size ? BN_OK : BN_ERR_LAYOUT;
}

static int check_tokenizer(const uint8_t *data, uint32_t size, uint32_t vocab_size) {
    if (size == 0) {
        return BN_OK;
    }
    if (size < 8) {
        return BN_ERR_LAYOUT;
    }
    uint32_t merge_count = read_u16(data), hash_bits = read_u16(data + 2);
    if (read_u16(data + 4) != vocab_size || read_u16(data + 6) != 0 || !is_within(hash_bits, 1, 15) ||
        vocab_size < 256 + merge_count) {
        return BN_ERR_LAYOUT;
    }
    uint32_t hash = 8 + 4 * merge_count;
    uint32_t offsets = hash + ((uint32_t)2 << hash_bits);
    uint32_t blob = offsets + 2 * (vocab_size + 1);
    if (blob > size || size - blob != read_u16(data + blob - 2) || read_u16(data + offsets) != 0) {
        return BN_ERR_LAYOUT;
    }
    for (uint32_t at = offsets; at + 2 < blob; at += 2) {
        if (read_u16(data + at) > read_u16(data + at + 2)) {
            return BN_ERR_LAYOUT;
        }
    }
    int err = check_merges(data + 8, merge_count);
    return err ? err : check_merge_hash(data + hash, (uint32_t)1 << hash_bits, merge_count);
}

static int check_labels(const uint8_t *data, uint32_t size, uint32_t vocab_size) {
    if (size == 0) {
        return BN_OK;
    }
    if (size < 20) {
        return BN_ERR_LAYOUT;
    }
    uint32_t intents = read_u16(data), slots = read_u16(data + 2), unknown = read_u16(data + 16);
    if (!is_within(intents, 1, 1024) || slots > 32 || size != 20 + 4 * intents + slots ||
        read_u16(data + 4) + intents > vocab_size || read_u16(data + 6) + slots > vocab_size ||
        (unknown >= intents && unknown != 0xFFFF) || read_u16(data + 18) > 1000) {
        return BN_ERR_LAYOUT;
    }
    for (uint32_t at = 8; at < 16; at += 2) { // system, user, assistant, end
        if (read_u16(data + at) >= vocab_size) {
            return BN_ERR_LAYOUT;
        }
    }
    for (uint32_t i = 0; i < intents; i++) {
        if (slots < 32 && read_u32(data + 20 + 4 * i) >> slots) {
            return BN_ERR_LAYOUT;
        }
    }
    for (uint32_t i = 0; i < slots; i++) {
        if (data[20 + 4 * intents + i] > 1) {
            return BN_ERR_LAYOUT;
        }
    }
    return BN_OK;
}

// Each part from the next multiple of 16 after the last. Also for a model that may have changed since it was
// checked: whatever the header says, the parts lie within its file_size.
static int locate_parts(const uint8_t *model, part_t *parts) {
    uint32_t file_size = read_u32(model + OFFSET_FILE_SIZE), end = BN_HEADER_SIZE;
    for (int i = 0; i < PARTS; i++) {
        uint32_t gap = (0 - end) & 15;
        if (gap > file_size - end || !all_zero(model + end, gap)) {
            return BN_ERR_LAYOUT;
        }
        parts[i].start = model + end + gap;
        parts[i].size = read_u32(model + OFFSET_PARTS + 4 * i);
        if (parts[i].size > file_size - end - gap) {
            return BN_ERR_LAYOUT;
        }
        end += gap + parts[i].size;
    }
    return end == file_size ? BN_OK : BN_ERR_LAYOUT;
}

// At most 2^24 bytes of rows for any valid shape.
static int read_prefix(const part_t *part, const bn_config_t *config, bn_prefix_t *prefix) {
    prefix->positions = 0;
    if (part->size == 0) {
        return BN_OK;
    }
    if (part->size < PREFIX_HEADER_SIZE) {
        return BN_ERR_LAYOUT;
    }
    uint32_t positions = read_u16(part->start);
    uint32_t rows = config->num_layers * positions * bn_cache_row_size(config);
    if (!is_within(positions, 1, config->window) || read_u16(part->start + 2) != 0 ||
        part->size - PREFIX_HEADER_SIZE != rows) {
        return BN_ERR_LAYOUT;
    }
    prefix->positions = positions;
    prefix->rows = part->start + PREFIX_HEADER_SIZE;
    return BN_OK;
}

int bn_locate_prefix(const uint8_t *model, const bn_config_t *config, bn_prefix_t *prefix) {
    part_t parts[PARTS];
    int err = locate_parts(model, parts);
    return err ? err : read_prefix(&parts[PREFIX], config, prefix);
}

static int check_parts(const uint8_t *model, const bn_config_t *config, const bn_weights_t *weights) {
    part_t parts[PARTS];
    bn_prefix_t prefix;
    int err = locate_parts(model, parts);
    if (err) {
        return err;
    }
    // A prefix is the beginning of the template, and the labels have the template's tokens.
    if (parts[WEIGHTS].size != weights->end - BN_HEADER_SIZE ||
        (parts[PREFIX].size != 0 && parts[LABELS].size == 0)) {
        return BN_ERR_LAYOUT;
    }
    err = check_tokenizer(parts[TOKENIZER].start, parts[TOKENIZER].size, config->vocab_size);
    err = err ? err : check_labels(parts[LABELS].start, parts[LABELS].size, config->vocab_size);
    return err ? err : read_prefix(&parts[PREFIX], config, &prefix);
}

int bn_check(const void *data, size_t size) {
    const uint8_t *model = data;
    int err = check_identity(model, size);
    if (err) {
        return err;
    }
    // Before the other fields: a damaged file should be called damaged, not unsupported.
    uint32_t file_size = read_u32(model + OFFSET_FILE_SIZE);
    if (bn_crc32(0, model + OFFSET_SHAPE, file_size - OFFSET_SHAPE) != read_u32(model + OFFSET_CRC)) {
        return BN_ERR_CHECKSUM;
    }
    bn_config_t config;
    err = read_config(model, &config);
    if (err) {
        return err;
    }
    bn_weights_t weights;
    bn_locate_weights(&config, &weights);
    err = check_parts(model, &config, &weights);
    return err ? err : check_weights(model, &config, &weights);
}
