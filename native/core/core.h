// What the files of the core share. Names and formulas in capitals are those of native/SPEC.md.
#ifndef BITNET_CORE_H
#define BITNET_CORE_H

#include "bitnet.h"

_Static_assert(
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the model is used in place, so the target is little-endian");
_Static_assert((-1 >> 1) == -1, "right shifts keep the sign");

enum { BN_BINARY = 1, BN_TERNARY = 2 };
enum { BN_TIED = 0 };

// The parts of a layer in the order of the file and of their use: each can be fetched by itself.
enum { BN_ATTENTION_PART, BN_GATE_UP_PART, BN_DOWN_PART, BN_PARTS };

// What bn_init leaves of a model whose layers are apart: no bn_placement_t.
enum { BN_UNPLACED = BN_STREAMED + 1 };

// PSRAM is read in bursts of this size, at multiples of it: no longer than the chip can go without refreshing
// itself (4 us when hot) at 40 MHz, and never across its pages.
enum { BN_PSRAM_BURST = 32, BN_PSRAM_SIZE = 8 << 20 };

// PSRAM is read by peripherals that only the RP2040 has.
#ifndef BN_HAS_PSRAM
#ifdef __ARM_ARCH_6M__
#define BN_HAS_PSRAM 1
#else
#define BN_HAS_PSRAM 0
#endif
#endif

// For a function that other files need for PSRAM only: without PSRAM it is local to its file, and can be
// inlined.
#if BN_HAS_PSRAM
#define BN_FOR_PSRAM extern
#else
#define BN_FOR_PSRAM static
#endif

enum {
    BN_HEADER_SIZE = 64,
    BN_MAX_HEADS = 64,
    BN_MAX_HEAD_DIM = 64,
    BN_FINAL_BITS = 8, // of the codes that the head is multiplied with
    BN_ROWS_PER_BLOCK = 4,
    BN_TABLE_SIZE = 256,         // entries of one lookup table: every value of a weight byte
    BN_TABLES_AT_ONCE = 52,      // bounds the tables to 26 KB; enough for 260 ternary or 416 binary columns
    BN_PAIR_TABLES_AT_ONCE = 26, // twice as large
    BN_NO_WEIGHT = 512,          // SPEC.md's WEIGHT is 0 from this distance on
};

// m·2^e. Passed by address, because a copy can become a call of memcpy.
typedef struct {
    int32_t m, e;
} bn_scale_t;

// A norm, and the bits of the codes that follow it.
typedef struct {
    const int16_t *gamma;
    uint32_t size;
    int bits;
} bn_norm_t;

// The header's shape fields, in the file's order, and whether the layers are in a file of their own.
typedef struct {
    uint16_t vocab_size, hidden_size, intermediate_size;
    uint8_t num_layers, num_heads, num_kv_heads, head_dim;
    uint16_t window;
    uint8_t weight_type, activation_bits, embedding_bits, head_type;
    uint32_t layers_apart;
} bn_config_t;

// Where each weight lies: bytes from the start of the model, and within a layer from the start of the layer.
typedef struct {
    uint32_t rope_step, embedding, layers, final_norm, head, end;
    uint32_t attn_norm, q, k, v, attn_sub_norm, o, ffn_norm, gate, up, ffn_sub_norm, down, layer_size;
} bn_weights_t;

// Where each buffer lies in the state, in bytes; `window` is the state's own.
typedef struct {
    uint32_t window, cache_row;
    uint32_t token_size; // bytes from x to rope, which there are of a second token once more behind them
    uint32_t x, work, out, codes, rope, scores, softmax, pair_sums, tables, logits, cache, size;
} bn_buffers_t;

// The beginning of the state buffer.
typedef struct {
    uint32_t magic, file_size, crc;
    bn_config_t config;
    bn_weights_t weights;
    bn_buffers_t buffers;
    uint32_t position; // tokens since the last reset, mod 2^32
    uint32_t slot;     // the cache row the next token goes to
    uint32_t filled;   // cache rows that hold a token
    uint32_t placement;
    int32_t dma_channel;
    int32_t request_channel, state_machine; // of a model whose layers are apart
    uint32_t request;                       // 0, which asks for a burst: here because DMA has to find it
    uint32_t fetched; // parts of the first layer that are in the stream's buffer already
    uint32_t has_x;   // 0 until a token is fed: a prefix brings rows, but no residual stream for logits
} bn_state_t;

// Where a forward pass is with the weights. Parts are counted from the first of this token.
typedef struct {
    bn_state_t *state;
    const uint8_t *layers;
    uint8_t *buffer;
    uint32_t requested, arrived, finished;
    uint32_t next_layer, next_part; // to be requested
} bn_source_t;

#define BN_MAX(a, b) ((a) > (b) ? (a) : (b))
#define BN_MIN(a, b) ((a) < (b) ? (a) : (b))

// n rounded up to a multiple of `to`, a power of two.
static inline uint32_t bn_align(uint32_t n, uint32_t to) {
    return (n + to - 1) & ~(to - 1);
}

// Two's complement.
static inline int32_t bn_signed_byte(uint32_t byte) {
    return (int32_t)(byte << 24) >> 24;
}

// The stored beginning of a prompt: rows of the cache, layer by layer, each row as below.
typedef struct {
    const uint8_t *rows;
    uint32_t positions; // rows of each layer, 0: no prefix
} bn_prefix_t;

// The rows of one layer's KV cache (SPEC.md 1.6), oldest anywhere: attention does not ask for their order.
typedef struct {
    uint8_t *rows;
    uint32_t row_size, filled, num_kv_heads, head_dim;
} bn_cache_t;

// The query heads that share a kv head.
typedef struct {
    uint32_t count;
    int q_exponent;         // of all queries, before each is quantized
    const uint8_t *weights; // [BN_NO_WEIGHT] of bn_fill_weights
    int32_t *scores;        // scratch: [rows of the cache]
} bn_heads_t;

// What matrices are multiplied with: the codes of one token, or of two.
typedef struct {
    uint32_t weight_type, columns, bits;
    int8_t *codes[2];   // [columns, up to a whole group], of `bits`, from a multiple of 4 on; lost
    uint32_t *tables;   // scratch: [BN_TABLES_AT_ONCE][BN_TABLE_SIZE / 2]
    int32_t *pair_sums; // scratch, for two tokens: [rows of all products]
} bn_input_t;

// One product of a shared input with a matrix: out[rows, rounded up to 4] = matrix · input, for each token.
typedef struct {
    const uint8_t *matrix;
    int32_t *out[2];
    uint32_t rows;
    const uint8_t *wanted; // a bit per row; blocks of rows without any may be left out. NULL: all rows
} bn_product_t;

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
void bn_locate_weights(const bn_config_t *config, bn_weights_t *weights);
uint32_t bn_crc32(uint32_t crc, const uint8_t *data, uint32_t size);
uint32_t bn_layers_crc(const uint8_t *model);
int bn_is_part(const uint8_t *layer, uint32_t part, const bn_config_t *config, const bn_weights_t *weights);
int bn_locate_prefix(const uint8_t *model, const bn_config_t *config, bn_prefix_t *prefix);

// state.c
int bn_check_owner(const bn_state_t *state, const uint8_t *model);

// source.c
// Bytes behind the state that a placement needs.
static inline uint32_t bn_room_for(
    const bn_config_t *config, const bn_weights_t *weights, uint32_t placement) {
    switch (placement) {
    case BN_COPIED:
        return weights->layer_size * config->num_layers;
    case BN_STREAMED:
        return weights->layer_size;
    default:
        return 0;
    }
}

uint32_t bn_room(const bn_state_t *state);
int bn_is_placed(const bn_state_t *state);
void bn_open_source(bn_source_t *source, bn_state_t *state, const uint8_t *model);
const uint8_t *bn_begin_part(bn_source_t *source, uint32_t layer);
void bn_fetch_ahead(bn_source_t *source);
void bn_end_part(bn_source_t *source);
void bn_close_source(bn_source_t *source);
void bn_stop_source(bn_source_t *source);
#if BN_HAS_PSRAM
__attribute__((pure)) uint32_t bn_part_start(const bn_weights_t *weights, uint32_t part);
#endif

// fetch.c: one copy at a time, of a multiple of 4 bytes
void bn_fetch(int channel, void *to, const void *from, uint32_t bytes);
void bn_fetch_psram(const bn_state_t *state, void *to, uint32_t address, uint32_t bytes);
int bn_fetch_is_done(int channel);

// bitlinear.c
void bn_bitlinear(const bn_input_t *input, const bn_product_t *products, int count);
void bn_bitlinear_pair(const bn_input_t *input, const bn_product_t *products, int count);

// attention.c
uint32_t bn_cache_row_size(const bn_config_t *config);
void bn_rope_angles(int16_t *rope, const uint32_t *rope_step, uint32_t head_dim, uint32_t position);
void bn_scale_angles(const int16_t *rope, int16_t *scaled, uint32_t head_dim, int32_t m);
void bn_cache_store(
    const bn_cache_t *cache, uint32_t slot, const int32_t *k, const int32_t *v, int k_exponent);
void bn_fill_weights(uint8_t weights[BN_NO_WEIGHT]);
uint32_t bn_attend(const bn_cache_t *cache, uint32_t kv_head, const bn_heads_t *heads, int32_t *x);

// decoder.c
bn_scale_t bn_final_norm(bn_state_t *state, const uint8_t *model);

#endif
