// Where everything lies in a model file, and whether the file can be trusted. Sizes that the file claims are
// compared with what is left of it and never added up, so no claim can make a sum overflow.
#include "core.h"

enum { MAGIC = 0x4E544942, VERSION = 2 }; // "BITN"
enum {
    OFFSET_VERSION = 4,
    OFFSET_FLAGS = 6,
    OFFSET_FILE_SIZE = 4 * BN_HEADER_FILE_SIZE,
    OFFSET_CRC = 4 * BN_HEADER_CRC,
    OFFSET_SHAPE = 16,
    OFFSET_PARTS = 32,
    OFFSET_LAYERS_CRC = 52,
    OFFSET_RESERVED = 56,
};
enum { LAYERS_APART = 1 }; // a flag
enum {
    TOKENIZER_HEADER_SIZE = 8,
    LABELS_HEADER_SIZE = 20,
    PREFIX_HEADER_SIZE = 4,
    BYTE_TOKENS = 256,   // token k is byte k, and the first merges follow
    NONE = 0xFFFF,       // no merge at this place of the hash; no unknown intent
    TERNARY_BYTES = 243, // bytes from here on stand for no weights
    MAX_SCALE_EXPONENT = 64,
};

// The parts of a file, in its order.
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

// Continues a CRC-32 with more data; `crc` is that of the data before it, 0 if there is none. It takes a
// nibble at a time, because a table of 16 entries is quickly made on the stack, and constant tables are read
// wrong on some targets.
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

// The ranges of SPEC.md 1.1.
static int check_shape(const bn_config_t *c) {
    if (!is_within(c->vocab_size, 1, 32768) || !is_within(c->hidden_size, 8, 1024) ||
        !is_within(c->intermediate_size, 8, 4096) || !is_within(c->num_layers, 1, 32) ||
        !is_within(c->num_heads, 1, BN_MAX_HEADS) || !is_within(c->num_kv_heads, 1, c->num_heads) ||
        !is_within(c->head_dim, 4, BN_MAX_HEAD_DIM) || !is_within(c->window, 1, BN_MAX_WINDOW)) {
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

// Whether this is a complete file of the right kind and version, whatever it contains.
static int check_identity(const uint8_t *model, size_t size) {
    if ((uintptr_t)model & 3) {
        return BN_ERR_ALIGN;
    }
    if (size < BN_HEADER_SIZE) {
        return BN_ERR_TRUNCATED;
    }
    if (read_u32(model) != MAGIC) {
        return BN_ERR_MAGIC;
    }
    if (read_u16(model + OFFSET_VERSION) != VERSION) {
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

// Reads the header and checks that its fields are in range, so that every offset can be computed from them.
// This is quick; only bn_check looks at the rest of the file.
int bn_read_header(const uint8_t *model, size_t size, bn_config_t *config) {
    int err = check_identity(model, size);
    return err ? err : read_config(model, config);
}

// ⌈columns / 8⌉ for binary weights, ⌈columns / 5⌉ for ternary ones. 52429 / 2^18 is 1/5, exactly enough up to
// 4096 columns.
uint32_t bn_groups(uint32_t weight_type, uint32_t columns) {
    return weight_type == BN_BINARY ? (columns + 7) >> 3 : ((columns + 4) * 52429) >> 18;
}

static uint32_t matrix_size(uint32_t weight_type, uint32_t rows, uint32_t columns) {
    return BN_SCALE_SIZE + bn_groups(weight_type, columns) * bn_align(rows, BN_ROWS_PER_BLOCK);
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

// Lays one item after the other, as in SPEC.md 1.2 and 1.7. For any valid shape that is at most 2^28 bytes.
void bn_locate_weights(const bn_config_t *config, bn_layout_t *layout) {
    uint32_t hidden = config->hidden_size, inner = config->intermediate_size, type = config->weight_type;
    uint32_t query = bn_query_size(config), kv = bn_kv_size(config);
    uint32_t part = config->layers_apart ? BN_PSRAM_BURST : 4;

    layout->attn_norm = 0;
    layout->q = bn_align(2 * hidden, 4);
    layout->k = layout->q + matrix_size(type, query, hidden);
    layout->v = layout->k + matrix_size(type, kv, hidden);
    layout->attn_sub_norm = layout->v + matrix_size(type, kv, hidden);
    layout->o = layout->attn_sub_norm + bn_align(2 * query, 4);
    layout->ffn_norm = bn_align(layout->o + matrix_size(type, hidden, query), part);
    layout->gate = layout->ffn_norm + bn_align(2 * hidden, 4);
    layout->up = layout->gate + matrix_size(type, inner, hidden);
    layout->ffn_sub_norm = bn_align(layout->up + matrix_size(type, inner, hidden), part);
    layout->down = layout->ffn_sub_norm + bn_align(2 * inner, 4);
    layout->layer_size = bn_align(layout->down + matrix_size(type, hidden, inner), part);

    layout->rope_step = BN_HEADER_SIZE;
    layout->embedding = layout->rope_step + 2 * config->head_dim;
    layout->layers = layout->embedding + BN_SCALE_SIZE + config->vocab_size * bn_embedding_row_size(config);
    layout->final_norm = layout->layers;
    if (!config->layers_apart) {
        layout->final_norm += config->num_layers * layout->layer_size;
    }
    layout->head = layout->final_norm + bn_align(2 * hidden, 4);
    layout->end = layout->head + (config->head_type == BN_TIED
                                         ? BN_SCALE_SIZE
                                         : matrix_size(config->head_type, config->vocab_size, hidden));
}

static int is_scale(const uint8_t *data) {
    int exponent = bn_read_scale(data).e;
    return is_within(read_u16(data), 1 << (BN_FACTOR_BITS - 1), (1 << BN_FACTOR_BITS) - 1) &&
           -MAX_SCALE_EXPONENT <= exponent && exponent <= MAX_SCALE_EXPONENT;
}

// Sums over rows stay in their bounds only if every byte stands for weights. A binary byte always does.
static int is_matrix(const uint8_t *data, uint32_t type, uint32_t rows, uint32_t columns) {
    int sound = is_scale(data);
    if (type == BN_TERNARY) {
        for (uint32_t i = BN_SCALE_SIZE; i < matrix_size(type, rows, columns); i++) {
            sound = sound && data[i] < TERNARY_BYTES;
        }
    }
    return sound;
}

int bn_is_part(const uint8_t *layer, uint32_t part, const bn_config_t *config, const bn_layout_t *layout) {
    uint32_t hidden = config->hidden_size, inner = config->intermediate_size, type = config->weight_type;
    uint32_t query = bn_query_size(config), kv = bn_kv_size(config);
    switch (part) {
    case BN_ATTENTION_PART:
        return is_matrix(layer + layout->q, type, query, hidden) &&
               is_matrix(layer + layout->k, type, kv, hidden) &&
               is_matrix(layer + layout->v, type, kv, hidden) &&
               is_matrix(layer + layout->o, type, hidden, query);
    case BN_GATE_UP_PART:
        return is_matrix(layer + layout->gate, type, inner, hidden) &&
               is_matrix(layer + layout->up, type, inner, hidden);
    default:
        return is_matrix(layer + layout->down, type, hidden, inner);
    }
}

static int check_weights(const uint8_t *model, const bn_config_t *config, const bn_layout_t *layout) {
    int sound = is_scale(model + layout->embedding);
    if (config->head_type == BN_TIED) {
        sound = sound && is_scale(model + layout->head);
    } else {
        sound = sound &&
                is_matrix(model + layout->head, config->head_type, config->vocab_size, config->hidden_size);
    }
    for (uint32_t i = 0; i < config->num_layers && !config->layers_apart; i++) {
        for (uint32_t part = 0; part < BN_PARTS; part++) {
            sound =
                sound && bn_is_part(model + layout->layers + i * layout->layer_size, part, config, layout);
        }
    }
    return sound ? BN_OK : BN_ERR_LAYOUT;
}

static int check_merges(const uint8_t *merges, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        // A merge joins two tokens that come before it.
        if (read_u16(merges + 4 * i) >= BYTE_TOKENS + i || read_u16(merges + 4 * i + 2) >= BYTE_TOKENS + i) {
            return BN_ERR_LAYOUT;
        }
    }
    return BN_OK;
}

static int check_merge_hash(const uint8_t *hash, uint32_t hash_size, uint32_t merge_count) {
    uint32_t empty = 0;
    for (uint32_t i = 0; i < hash_size; i++) {
        uint32_t merge = read_u16(hash + 2 * i);
        if (merge == NONE) {
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
    if (size < TOKENIZER_HEADER_SIZE) {
        return BN_ERR_LAYOUT;
    }
    uint32_t merge_count = read_u16(data), hash_bits = read_u16(data + 2);
    if (read_u16(data + 4) != vocab_size || read_u16(data + 6) != 0 || !is_within(hash_bits, 1, 15) ||
        vocab_size < BYTE_TOKENS + merge_count) {
        return BN_ERR_LAYOUT;
    }
    uint32_t hash = TOKENIZER_HEADER_SIZE + 4 * merge_count;
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
    int err = check_merges(data + TOKENIZER_HEADER_SIZE, merge_count);
    return err ? err : check_merge_hash(data + hash, (uint32_t)1 << hash_bits, merge_count);
}

static int check_labels(const uint8_t *data, uint32_t size, uint32_t vocab_size) {
    if (size == 0) {
        return BN_OK;
    }
    if (size < LABELS_HEADER_SIZE) {
        return BN_ERR_LAYOUT;
    }
    uint32_t intents = read_u16(data), slots = read_u16(data + 2), unknown = read_u16(data + 16);
    if (!is_within(intents, 1, 1024) || slots > 32 || size != LABELS_HEADER_SIZE + 4 * intents + slots ||
        read_u16(data + 4) + intents > vocab_size || read_u16(data + 6) + slots > vocab_size ||
        (unknown >= intents && unknown != NONE) || read_u16(data + 18) > 1000) {
        return BN_ERR_LAYOUT;
    }
    for (uint32_t at = 8; at < 16; at += 2) { // system, user, assistant, end
        if (read_u16(data + at) >= vocab_size) {
            return BN_ERR_LAYOUT;
        }
    }
    for (uint32_t i = 0; i < intents; i++) {
        if (slots < 32 && read_u32(data + LABELS_HEADER_SIZE + 4 * i) >> slots) {
            return BN_ERR_LAYOUT;
        }
    }
    for (uint32_t i = 0; i < slots; i++) {
        if (data[LABELS_HEADER_SIZE + 4 * intents + i] > 1) {
            return BN_ERR_LAYOUT;
        }
    }
    return BN_OK;
}

// Finds the parts, each of which begins at the next multiple of 16 after the one before. The model may have
// changed since it was checked: whatever its header says, the parts that are returned lie within its
// file_size.
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

// For any valid shape, the rows are at most 2^24 bytes.
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

static int check_parts(const uint8_t *model, const bn_config_t *config, const bn_layout_t *layout) {
    part_t parts[PARTS];
    bn_prefix_t prefix;
    int err = locate_parts(model, parts);
    if (err) {
        return err;
    }
    // A prefix is the beginning of the template, whose tokens the labels name: without labels there is none.
    if (parts[WEIGHTS].size != layout->end - BN_HEADER_SIZE ||
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
    // The checksum comes before the other fields, so that a damaged file is called damaged and not
    // unsupported.
    uint32_t file_size = read_u32(model + OFFSET_FILE_SIZE);
    if (bn_crc32(0, model + OFFSET_SHAPE, file_size - OFFSET_SHAPE) != read_u32(model + OFFSET_CRC)) {
        return BN_ERR_CHECKSUM;
    }
    bn_config_t config;
    err = read_config(model, &config);
    if (err) {
        return err;
    }
    bn_layout_t layout;
    bn_locate_weights(&config, &layout);
    err = check_parts(model, &config, &layout);
    return err ? err : check_weights(model, &config, &layout);
}
