// What the files of the core share. Names and formulas in capitals are those of native/SPEC.md.
#ifndef BITNET_CORE_H
#define BITNET_CORE_H

#include "bitnet.h"

_Static_assert(
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the model is used in place, so the target is little-endian");
_Static_assert((-1 >> 1) == -1, "right shifts keep the sign");

// --- the model file ---

enum { BN_BINARY = 1, BN_TERNARY = 2 }; // values of weight_type, and of head_type
enum { BN_TIED = 0 };                   // another value of head_type

enum {
    BN_HEADER_SIZE = 64,
    BN_HEADER_FILE_SIZE = 2, // the header's words with these two fields
    BN_HEADER_CRC = 3,
    BN_SCALE_SIZE = 4, // bytes of a scale, with which matrices and the embedding begin
    BN_MAX_HEADS = 64,
    BN_MAX_HEAD_DIM = 64,
    BN_ROWS_PER_BLOCK = 4,
    BN_BINARY_COLUMNS = 8, // of a group, whose weights in one row are a byte
    BN_TERNARY_COLUMNS = 5,
};

// A layer's parts, in the order in which the file has them and the forward pass uses them. Each can be
// fetched on its own.
enum { BN_ATTENTION_PART, BN_GATE_UP_PART, BN_DOWN_PART, BN_PARTS };

// The header's shape fields, in the file's order; then, whether the layers are in a file of their own.
typedef struct {
    uint16_t vocab_size, hidden_size, intermediate_size;
    uint8_t num_layers, num_heads, num_kv_heads, head_dim;
    uint16_t window;
    uint8_t weight_type, activation_bits, embedding_bits, head_type;
    uint32_t layers_apart;
} bn_config_t;

// Where the items of SPEC.md 1.2 lie. Those in the first row are offsets in bytes from the start of the model
// (`layers`: of the first layer; `end`: of the first byte after the weights), those in the second row from
// the start of a layer.
typedef struct {
    uint32_t rope_step, embedding, layers, final_norm, head, end;
    uint32_t attn_norm, q, k, v, attn_sub_norm, o, ffn_norm, gate, up, ffn_sub_norm, down, layer_size;
} bn_layout_t;

// The stored beginning of a prompt: cache rows of all positions of the first layer, then of the next.
typedef struct {
    const uint8_t *rows;
    uint32_t positions; // of each layer; 0: the model has no prefix
} bn_prefix_t;

// --- the state ---

// The placement of a model whose layers are apart until bn_place_psram: none of bn_placement_t.
enum { BN_UNPLACED = BN_STREAMED + 1 };

enum {
    BN_TABLE_SIZE = 256,         // entries of one lookup table, one for each value of a weight byte
    BN_TABLES_AT_ONCE = 52,      // limits the tables to 26 KB; enough for 416 binary or 260 ternary columns
    BN_PAIR_TABLES_AT_ONCE = 26, // these are twice as large
    BN_SOFTMAX_TABLE_SIZE = 512, // distances from here on have a PROBABILITY of 0
};

// Offsets of the buffers in the state, in bytes. `window` is the state's, which may differ from the model's.
typedef struct {
    uint32_t window, cache_row;
    uint32_t token_size; // bytes of the buffers x to rope; a second token's follow directly after the first's
    uint32_t x, work, out, codes, rope, scores, softmax_table, pair_sums, tables, logits, cache, size;
} bn_buffers_t;

// The beginning of the state; the buffers follow it.
typedef struct {
    uint32_t magic, file_size, crc;
    bn_config_t config;
    bn_layout_t layout;
    bn_buffers_t buffers;
    uint32_t position; // tokens since the last reset, mod 2^32
    uint32_t slot;     // the cache row that the next token is written to
    uint32_t filled;   // cache rows that hold a token
    uint32_t placement;
    int32_t dma_channel;
    int32_t request_channel, state_machine; // used only if the layers are apart
    uint32_t request;                       // always 0, which asks for a burst; DMA reads it from here
    uint32_t fetched; // parts of the first layer that a stream has fetched for the next token already
    uint32_t has_x;   // 0 until a token is fed: a prefix fills the cache, but leaves no x to take logits of
} bn_state_t;

// --- arithmetic ---

enum {
    BN_INT_BITS = 31,        // of an int32, without its sign
    BN_FACTOR_BITS = 15,     // of a scale's m and of what is multiplied with it: a product is below 2^30
    BN_MAX_CODE = 127,       // of 8 bits
    BN_FINAL_NORM_BITS = 8,  // of the codes that the head is multiplied with
    BN_X_FRACTION_BITS = 16, // of the residual stream x
    BN_DISTANCE_BITS = 6,    // fraction bits of attention scores, and so of distances between them
    BN_SIN_BITS = 14,        // fraction bits of sines and cosines
    BN_EXP2_INPUT_BITS = 8,  // fraction bits of what EXP2 takes
    BN_EXP2_BITS = 15,       // fraction bits of what EXP2 returns
    BN_RECIP_BITS = 30,      // RECIP returns 2^30 divided by a number of 16 bits
    BN_RECIP_INPUT_BITS = 16,
    BN_QUARTER_TURN = 1 << 30, // of angles, of which 2^32 are a turn
    BN_MAX_SHIFT = 31,         // leaves only the sign of an int32; C defines no longer shift
};

// The number m·2^e. Functions take its address, because passing it by value can become a call of memcpy.
typedef struct {
    int32_t m, e;
} bn_scale_t;

// A norm's gamma, int16[size], and the bits of the codes that it produces.
typedef struct {
    const int16_t *gamma;
    uint32_t size;
    int bits;
} bn_norm_t;

// The rows of one layer's KV cache (SPEC.md 1.6). Attention does not depend on their order, so the oldest row
// can be anywhere.
typedef struct {
    uint8_t *rows;
    uint32_t row_size, filled, num_kv_heads, head_dim;
} bn_cache_t;

// The query heads that share a kv head.
typedef struct {
    uint32_t count;
    int q_exponent;               // of all queries, before each is quantized
    const uint8_t *softmax_table; // as bn_fill_softmax_table leaves it
    int32_t *scores;              // scratch: [rows of the cache]
} bn_heads_t;

// What matrices are multiplied with: the codes of one token, or of two.
typedef struct {
    uint32_t weight_type, columns, bits;
    int8_t *codes[2];   // [columns, rounded up to whole groups] of `bits`, at a multiple of 4; overwritten
    uint32_t *tables;   // scratch: [BN_TABLES_AT_ONCE][BN_TABLE_SIZE / 2]
    int32_t *pair_sums; // scratch, for two tokens: [rows of all products]
} bn_input_t;

// One product of a matrix with an input: out[rows, rounded up to 4] = matrix · codes, for each token.
typedef struct {
    const uint8_t *matrix;
    int32_t *out[2];
    uint32_t rows;
    const uint8_t *wanted; // a bit for each row; a block without a wanted row may be left out. NULL: all rows
} bn_product_t;

#define BN_MAX(a, b) ((a) > (b) ? (a) : (b))
#define BN_MIN(a, b) ((a) < (b) ? (a) : (b))

// n rounded up to a multiple of `to`, a power of two.
static inline uint32_t bn_align(uint32_t n, uint32_t to) {
    return (n + to - 1) & ~(to - 1);
}

// The two's complement value of a byte.
static inline int32_t bn_signed_byte(uint32_t byte) {
    return (int32_t)(byte << 24) >> 24;
}

// scalar.c: SPEC.md section 2, on single numbers
int bn_bitlen(uint32_t a);
int32_t bn_rshr(int32_t x, int s);
uint32_t bn_divide(uint32_t n, uint32_t d);
int32_t bn_recip(uint32_t u);
int32_t bn_exp2(int32_t d);
int32_t bn_sin(uint32_t phi);
bn_scale_t bn_mul(const bn_scale_t *a, const bn_scale_t *b);
bn_scale_t bn_read_scale(const uint8_t *data);

// shift.c
void bn_scale_down(int32_t *x, uint32_t n, int s);

// quant.c: SPEC.md section 2, on vectors
int bn_scale_to(int32_t *x, uint32_t n, int length, int bits);
int bn_normalize(int32_t *x, uint32_t n, int bits);
bn_scale_t bn_norm_quant(
    const bn_norm_t *norm, const int32_t *x, uint32_t magnitudes, int32_t *work, int8_t *codes);
void bn_requant(int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale, int fraction_bits);
uint32_t bn_add_requant(int32_t *x, const int32_t *acc, uint32_t n, uint32_t bound, const bn_scale_t *scale);
void bn_copy(void *to, const void *from, uint32_t n);

// model.c
int bn_read_header(const uint8_t *model, size_t size, bn_config_t *config);
uint32_t bn_groups(uint32_t weight_type, uint32_t columns);
uint32_t bn_embedding_row_size(const bn_config_t *config);
uint32_t bn_query_size(const bn_config_t *config);
uint32_t bn_kv_size(const bn_config_t *config);
void bn_locate_weights(const bn_config_t *config, bn_layout_t *layout);
uint32_t bn_crc32(uint32_t crc, const uint8_t *data, uint32_t size);
uint32_t bn_layers_crc(const uint8_t *model);
int bn_is_part(const uint8_t *layer, uint32_t part, const bn_config_t *config, const bn_layout_t *layout);
int bn_locate_prefix(const uint8_t *model, const bn_config_t *config, bn_prefix_t *prefix);

// --- where the weights of the layers are read from ---

// PSRAM is read by peripherals that only the RP2040 has.
#ifndef BN_HAS_PSRAM
#ifdef __ARM_ARCH_6M__
#define BN_HAS_PSRAM 1
#else
#define BN_HAS_PSRAM 0
#endif
#endif

// For a function that other files need only for PSRAM. Without PSRAM it is local to its file, where the
// compiler can inline it.
#if BN_HAS_PSRAM
#define BN_FOR_PSRAM extern
#else
#define BN_FOR_PSRAM static
#endif

// PSRAM is read in bursts of this many bytes, from multiples of it, so that no burst crosses one of the
// chip's pages. At 40 MHz a burst is short enough for the chip, which cannot refresh itself meanwhile and,
// when hot, must do so every 4 us.
enum { BN_PSRAM_BURST = 32, BN_PSRAM_SIZE = 8 << 20 };

// How far a forward pass is with the parts of the layers, which are counted from the first one of its token.
typedef struct {
    bn_state_t *state;
    const uint8_t *layers;
    uint8_t *buffer;
    uint32_t requested, arrived, finished;
    uint32_t next_layer, next_part; // what is requested next
} bn_source_t;

// Bytes that a placement needs behind the state.
static inline uint32_t bn_room_for(const bn_config_t *config, const bn_layout_t *layout, uint32_t placement) {
    switch (placement) {
    case BN_COPIED:
        return layout->layer_size * config->num_layers;
    case BN_STREAMED:
        return layout->layer_size;
    default:
        return 0;
    }
}

// source.c
uint32_t bn_room(const bn_state_t *state);
int bn_is_placed(const bn_state_t *state);
void bn_open_source(bn_source_t *source, bn_state_t *state, const uint8_t *model);
const uint8_t *bn_begin_part(bn_source_t *source, uint32_t layer);
void bn_fetch_ahead(bn_source_t *source);
void bn_end_part(bn_source_t *source);
void bn_close_source(bn_source_t *source);
void bn_stop_source(bn_source_t *source);
#if BN_HAS_PSRAM
__attribute__((pure)) uint32_t bn_part_start(const bn_layout_t *layout, uint32_t part);
#endif

// fetch.c: one copy at a time, of a multiple of 4 bytes
void bn_fetch(int channel, void *to, const void *from, uint32_t bytes);
void bn_fetch_psram(const bn_state_t *state, void *to, uint32_t address, uint32_t bytes);
int bn_fetch_is_done(int channel);

// --- the forward pass ---

// bitlinear.c
void bn_bitlinear(const bn_input_t *input, const bn_product_t *products, int count);
void bn_bitlinear_pair(const bn_input_t *input, const bn_product_t *products, int count);

// attention.c
uint32_t bn_cache_row_size(const bn_config_t *config);
void bn_rope_angles(int16_t *rope, const uint32_t *rope_step, uint32_t head_dim, uint32_t position);
void bn_scale_angles(const int16_t *rope, int16_t *scaled, uint32_t head_dim, int32_t m);
void bn_cache_store(
    const bn_cache_t *cache, uint32_t slot, const int32_t *k, const int32_t *v, int k_exponent);
void bn_fill_softmax_table(uint8_t table[BN_SOFTMAX_TABLE_SIZE]);
uint32_t bn_attend(const bn_cache_t *cache, uint32_t kv_head, const bn_heads_t *heads, int32_t *x);

// state.c
int bn_check_owner(const bn_state_t *state, const uint8_t *model);

// decoder.c
bn_scale_t bn_final_norm(bn_state_t *state, const uint8_t *model);

#endif
