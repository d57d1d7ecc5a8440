// The forward pass: SPEC.md 2.1 from top to bottom. Each call makes its pointers from the state's offsets, so
// the state itself holds none and may move between calls.
#include "kv.h"
#include "vector.h"

enum {
    KV_FRACTION_BITS = 12, // of keys and values before they are quantized for the cache
    GATE_BITS = 16,        // of gate before it is squared, so that the square fits a word
};

// The buffers of one token.
typedef struct {
    int32_t *x; // [hidden_size] the residual stream, with BN_X_FRACTION_BITS
    // [widest] the input of the next norm: a copy of x, the output of attention, or the gated units
    int32_t *work;
    int32_t *out;                           // [widest] results of matrices
    uint32_t x_magnitudes, work_magnitudes; // bn_magnitudes of x and of work
    int8_t *codes;                          // [widest] quantized input of matrices
    int16_t *rope;                          // [head_dim] cosine and sine of each pair
    uint32_t slot;                          // the cache row that its keys and values are written to
    uint32_t filled;                        // the cache rows that it attends to
    bn_scale_t scale;                       // of codes
} token_t;

// Tokens are run one or two at a time. With two, each matrix is read once for both.
typedef struct {
    const bn_config_t *config;
    const bn_layout_t *layout;
    const uint8_t *model;
    uint32_t query_size, kv_size;
    int32_t *scores;        // [window]
    uint8_t *softmax_table; // [BN_SOFTMAX_TABLE_SIZE] PROBABILITY of each distance
    uint32_t *tables;       // [BN_TABLES_AT_ONCE][BN_TABLE_SIZE] of u16
    int32_t *pair_sums;     // [rows that share an input]
    bn_cache_t cache;       // of the current layer
    bn_source_t source;     // of the layers' weights
    token_t token[2];
    int count;
} decoder_t;

static void open_token(token_t *token, uint8_t *memory, const bn_buffers_t *b) {
    token->x = (int32_t *)(memory + b->x);
    token->work = (int32_t *)(memory + b->work);
    token->out = (int32_t *)(memory + b->out);
    token->codes = (int8_t *)(memory + b->codes);
    token->rope = (int16_t *)(memory + b->rope);
}

static void open_decoder(decoder_t *d, bn_state_t *state, const uint8_t *model, int count) {
    uint8_t *memory = (uint8_t *)state;
    const bn_buffers_t *b = &state->buffers;
    d->config = &state->config;
    d->layout = &state->layout;
    d->model = model;
    d->query_size = bn_query_size(d->config);
    d->kv_size = bn_kv_size(d->config);
    d->scores = (int32_t *)(memory + b->scores);
    d->softmax_table = memory + b->softmax_table;
    d->tables = (uint32_t *)(memory + b->tables);
    d->pair_sums = (int32_t *)(memory + b->pair_sums);
    d->cache.rows = memory + b->cache;
    d->cache.row_size = b->cache_row;
    d->cache.num_kv_heads = d->config->num_kv_heads;
    d->cache.head_dim = d->config->head_dim;
    d->count = count;
    // The last token uses the first buffers, where bn_final_norm looks for its x after the call.
    open_token(&d->token[count - 1], memory, b);
    open_token(&d->token[2 - count], memory + b->token_size, b);
}

// The two's complement values of a byte's nibbles.
static int32_t low_nibble(uint32_t byte) {
    return (int32_t)(byte << 28) >> 28;
}

static int32_t high_nibble(uint32_t byte) {
    return (int32_t)(byte << 24) >> 28;
}

// x[n] = the codes of an embedding row, of 8 or 4 bits
static void unpack(int32_t *x, const uint8_t *row, uint32_t n, int bits) {
    if (bits == 8) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] = bn_signed_byte(row[i]);
        }
        return;
    }
    for (; n > 1; n -= 2) {
        uint32_t byte = *row++;
        *x++ = low_nibble(byte);
        *x++ = high_nibble(byte);
    }
    if (n > 0) {
        *x = low_nibble(*row);
    }
}

static void embed(const decoder_t *d, token_t *token, uint32_t id) {
    const bn_config_t *config = d->config;
    const uint8_t *embedding = d->model + d->layout->embedding;
    const uint8_t *row = embedding + BN_SCALE_SIZE + id * bn_embedding_row_size(config);
    bn_scale_t scale = bn_read_scale(embedding);
    uint32_t n = config->hidden_size;
    unpack(token->x, row, n, config->embedding_bits);
    bn_requant(token->x, n, BN_MAX_CODE, &scale, BN_X_FRACTION_BITS);
    token->x_magnitudes = bn_magnitudes(token->x, n);
}

// codes = norm(x), quantized to `bits`
static void norm_x(const decoder_t *d, token_t *token, const uint8_t *gamma, int bits) {
    bn_norm_t norm = {(const int16_t *)gamma, d->config->hidden_size, bits};
    token->scale = bn_norm_quant(&norm, token->x, token->x_magnitudes, token->work, token->codes);
}

// out = matrix · codes, for each product and each token; the sums are integers, not scaled yet.
static void multiply(decoder_t *d, uint32_t columns, const bn_product_t *products, int count) {
    bn_input_t input = {d->config->weight_type, columns, d->config->activation_bits,
        {d->token[0].codes, d->token[1].codes}, d->tables, d->pair_sums};
    bn_fetch_ahead(&d->source);
    if (d->count == 1) {
        bn_bitlinear(&input, products, count);
    } else {
        bn_bitlinear_pair(&input, products, count);
    }
}

// Sets field by field, because to return or assign a whole struct would call memcpy.
static void set_product(
    bn_product_t *product, const uint8_t *matrix, int32_t *first, int32_t *second, uint32_t rows) {
    product->matrix = matrix;
    product->out[0] = first;
    product->out[1] = second;
    product->rows = rows;
    product->wanted = NULL;
}

// The scale of the sums that a matrix makes of the token's codes.
static bn_scale_t scale_of(const token_t *token, const uint8_t *matrix) {
    bn_scale_t matrix_scale = bn_read_scale(matrix);
    return bn_mul(&token->scale, &matrix_scale);
}

static void requant(
    const bn_product_t *product, int i, const token_t *token, uint32_t columns, int fraction_bits) {
    bn_scale_t scale = scale_of(token, product->matrix);
    bn_requant(product->out[i], product->rows, BN_MAX_CODE * columns, &scale, fraction_bits);
}

// x = clamp(x + matrix · norm(work))
static void add_to_residual(decoder_t *d, const uint8_t *gamma, uint32_t columns, const uint8_t *matrix) {
    uint32_t n = d->config->hidden_size;
    bn_norm_t norm = {(const int16_t *)gamma, columns, d->config->activation_bits};
    for (int i = 0; i < d->count; i++) {
        token_t *token = &d->token[i];
        token->scale = bn_norm_quant(&norm, token->work, token->work_magnitudes, token->work, token->codes);
    }
    bn_product_t product;
    set_product(&product, matrix, d->token[0].out, d->token[1].out, n);
    multiply(d, columns, &product, 1);
    for (int i = 0; i < d->count; i++) {
        token_t *token = &d->token[i];
        bn_scale_t scale = scale_of(token, matrix);
        token->x_magnitudes = bn_add_requant(token->x, token->out, n, BN_MAX_CODE * columns, &scale);
    }
}

static int32_t *keys(const token_t *token) {
    return token->out;
}

static int32_t *values(const decoder_t *d, const token_t *token) {
    return token->out + bn_align(d->kv_size, BN_ROWS_PER_BLOCK);
}

// work = q, as unscaled sums; out = k, then v, with KV_FRACTION_BITS
static void project_qkv(decoder_t *d, const uint8_t *layer) {
    const bn_layout_t *layout = d->layout;
    token_t *first = &d->token[0], *second = &d->token[1];
    for (int i = 0; i < d->count; i++) {
        norm_x(d, &d->token[i], layer + layout->attn_norm, d->config->activation_bits);
    }
    bn_product_t qkv[3];
    set_product(&qkv[0], layer + layout->q, first->work, second->work, d->query_size);
    set_product(&qkv[1], layer + layout->k, keys(first), keys(second), d->kv_size);
    set_product(&qkv[2], layer + layout->v, values(d, first), values(d, second), d->kv_size);
    multiply(d, d->config->hidden_size, qkv, 3);
    for (int i = 0; i < d->count; i++) {
        for (int j = 1; j < 3; j++) {
            requant(&qkv[j], i, &d->token[i], d->config->hidden_size, KV_FRACTION_BITS);
        }
    }
}

// How many query heads share a kv head. Counting is cheaper than dividing on targets that cannot divide.
static uint32_t heads_per_kv_head(const bn_config_t *config) {
    uint32_t group = 1;
    while (group * config->num_kv_heads < config->num_heads) {
        group++;
    }
    return group;
}

// Applies RoPE to q; returns the exponent of all queries. The cosines and sines are multiplied by the
// mantissa of q's scale first, so that the unscaled sums can be turned as they are. The exponent is such that
// a query times a key is a score with BN_DISTANCE_BITS. It makes up for KV_FRACTION_BITS, which those of keys
// leave out.
static int turn_query(const decoder_t *d, const token_t *token, const uint8_t *matrix) {
    const bn_config_t *config = d->config;
    bn_scale_t scale = scale_of(token, matrix);
    int shift = BN_MAX(bn_bitlen(BN_MAX_CODE * config->hidden_size) - BN_FACTOR_BITS, 0);
    _Alignas(4) int16_t angles[BN_MAX_HEAD_DIM];
    bn_scale_angles(token->rope, angles, config->head_dim, scale.m);
    bn_scale_down(token->work, d->query_size, shift);
    bn_rope(token->work, config->num_heads, config->head_dim, angles);
    return scale.e + shift + BN_FACTOR_BITS - BN_SIN_BITS - KV_FRACTION_BITS + BN_DISTANCE_BITS;
}

// Applies RoPE to k; returns the exponent of all keys, without KV_FRACTION_BITS.
static int turn_key(const decoder_t *d, const token_t *token) {
    int exponent = bn_normalize(keys(token), d->kv_size, BN_FACTOR_BITS);
    bn_rope(keys(token), d->config->num_kv_heads, d->config->head_dim, token->rope);
    return exponent - BN_SIN_BITS;
}

// work = the outputs of all heads, with the same exponent. A head's output replaces its query.
static void attend_heads(const decoder_t *d, const token_t *token, int q_exponent) {
    const bn_config_t *config = d->config;
    bn_heads_t heads = {heads_per_kv_head(config), q_exponent, d->softmax_table, d->scores};
    uint32_t n = heads.count * config->head_dim;
    uint8_t exponents[BN_MAX_HEADS];
    uint32_t largest = 0;
    for (uint32_t i = 0; i < config->num_kv_heads; i++) {
        uint32_t exponent = bn_attend(&d->cache, i, &heads, token->work + i * n);
        exponents[i] = (uint8_t)exponent;
        largest = BN_MAX(largest, exponent);
    }
    for (uint32_t i = 0; i < config->num_kv_heads; i++) {
        uint32_t shift = largest - exponents[i];
        bn_scale_down(token->work + i * n, n, shift < BN_MAX_SHIFT ? (int)shift : BN_MAX_SHIFT);
    }
}

static void attention(decoder_t *d, const uint8_t *layer) {
    const bn_layout_t *layout = d->layout;
    project_qkv(d, layer);
    // One token after the other: the second attends to the first, and may overwrite the oldest row.
    for (int i = 0; i < d->count; i++) {
        token_t *token = &d->token[i];
        int q_exponent = turn_query(d, token, layer + layout->q);
        int k_exponent = turn_key(d, token);
        bn_cache_store(&d->cache, token->slot, keys(token), values(d, token), k_exponent);
        d->cache.filled = token->filled;
        attend_heads(d, token, q_exponent);
        token->work_magnitudes = bn_magnitudes(token->work, d->query_size);
    }
    add_to_residual(d, layer + layout->attn_sub_norm, d->query_size, layer + layout->o);
}

// gate = ReLU²(gate) · up, times some power of two: the norm that follows takes any common factor out again.
// No |up| exceeds `bound`. Returns bn_magnitudes(gate).
static uint32_t gate_units(int32_t *gate, const int32_t *up, uint32_t n, uint32_t bound) {
    int length = bn_bitlen(bn_greatest(gate, n));
    if (length > GATE_BITS) {
        bn_scale_down(gate, n, length - GATE_BITS);
        length = GATE_BITS;
    }
    int shift = 2 * length + bn_bitlen(bound) - BN_INT_BITS;
    return bn_gate(gate, up, n, shift < 0 ? 0 : (uint32_t)shift);
}

static void feed_forward_up(decoder_t *d, const uint8_t *layer) {
    const bn_layout_t *layout = d->layout;
    uint32_t n = d->config->intermediate_size;
    token_t *first = &d->token[0], *second = &d->token[1];
    for (int i = 0; i < d->count; i++) {
        norm_x(d, &d->token[i], layer + layout->ffn_norm, d->config->activation_bits);
    }
    bn_product_t gate_up[2];
    set_product(&gate_up[0], layer + layout->gate, first->work, second->work, n);
    set_product(&gate_up[1], layer + layout->up, first->out, second->out, n);
    multiply(d, d->config->hidden_size, gate_up, 2);
    for (int i = 0; i < d->count; i++) {
        token_t *token = &d->token[i];
        token->work_magnitudes = gate_units(token->work, token->out, n, BN_MAX_CODE * d->config->hidden_size);
    }
}

static void feed_forward_down(decoder_t *d, const uint8_t *layer) {
    const bn_layout_t *layout = d->layout;
    add_to_residual(d, layer + layout->ffn_sub_norm, d->config->intermediate_size, layer + layout->down);
}

// Gives each token the next cache row and sets x to its embedding.
static void begin_tokens(decoder_t *d, bn_state_t *state, const uint16_t *ids) {
    uint32_t window = state->buffers.window;
    for (int i = 0; i < d->count; i++) {
        token_t *token = &d->token[i];
        const uint32_t *rope_step = (const uint32_t *)(d->model + d->layout->rope_step);
        bn_rope_angles(token->rope, rope_step, d->config->head_dim, state->position);
        embed(d, token, ids[i]);
        token->slot = state->slot;
        state->position++;
        state->slot = state->slot + 1 < window ? state->slot + 1 : 0;
        state->filled = state->filled < window ? state->filled + 1 : window;
        token->filled = state->filled;
    }
}

static int forward(
    bn_state_t *state, const uint8_t *model, const uint16_t *ids, int count, const bn_deadline_t *deadline) {
    decoder_t d;
    open_decoder(&d, state, model, count);
    begin_tokens(&d, state, ids);
    bn_open_source(&d.source, state, model);
    for (uint32_t i = 0; i < d.config->num_layers; i++) {
        if (deadline && deadline->has_passed(deadline)) {
            bn_stop_source(&d.source);
            bn_reset(state, model);
            return BN_ERR_DEADLINE;
        }
        attention(&d, bn_begin_part(&d.source, i));
        bn_end_part(&d.source);
        feed_forward_up(&d, bn_begin_part(&d.source, i));
        bn_end_part(&d.source);
        feed_forward_down(&d, bn_begin_part(&d.source, i));
        bn_end_part(&d.source);
        d.cache.rows += state->buffers.window * d.cache.row_size;
    }
    bn_close_source(&d.source);
    state->has_x = 1;
    return BN_OK;
}

int bn_feed(
    void *memory, const void *model, const uint16_t *tokens, size_t count, const bn_deadline_t *deadline) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    if (state->placement == BN_UNPLACED) {
        return BN_ERR_APART;
    }
    // Check all tokens before running any, so that a refused call leaves the state as it was.
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] >= state->config.vocab_size) {
            return BN_ERR_TOKEN;
        }
    }
    for (size_t i = 0; i < count && !err;) {
        int now = count - i > 1 ? 2 : 1;
        err = forward(state, model, tokens + i, now, deadline);
        i += (size_t)now;
    }
    return err;
}

// codes = norm(x), the input of the head, with BN_FINAL_NORM_BITS; returns the scale of the codes.
bn_scale_t bn_final_norm(bn_state_t *state, const uint8_t *model) {
    decoder_t d;
    open_decoder(&d, state, model, 1);
    d.token[0].x_magnitudes = bn_magnitudes(d.token[0].x, d.config->hidden_size);
    norm_x(&d, &d.token[0], model + d.layout->final_norm, BN_FINAL_NORM_BITS);
    return d.token[0].scale;
}
