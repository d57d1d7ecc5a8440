// The forward pass: SPEC.md 2.1 from top to bottom. Pointers are made from the state's offsets at each call,
// so the state itself holds none and may move.
#include "core.h"

enum { QUERY_BITS = 8, FINAL_BITS = 8, RESIDUAL_LIMIT = 1 << 29 };

typedef struct {
    const bn_config_t *config;
    const bn_weights_t *weights;
    const uint8_t *model;
    uint32_t query_size, kv_size;
    int32_t *x; // [hidden_size] the residual stream, 16 fraction bits
    int32_t
        *work;    // [widest] what is about to be normed: a copy of x, the attention's output, the gated units
    int32_t *out; // [widest] results of matrices
    int8_t *codes;    // [widest] quantized input of matrices, or the query heads
    int16_t *rope;    // [head_dim] cosine and sine of each pair
    int32_t *scores;  // [window]
    int16_t *tables;  // [BN_TABLES_AT_ONCE][256]
    bn_cache_t cache; // of the current layer
    uint32_t slot;    // of the current token
} decoder_t;

static void open_decoder(decoder_t *d, bn_state_t *state, const uint8_t *model) {
    uint8_t *memory = (uint8_t *)state;
    const bn_buffers_t *b = &state->buffers;
    d->config = &state->config;
    d->weights = &state->weights;
    d->model = model;
    d->query_size = bn_query_size(d->config);
    d->kv_size = bn_kv_size(d->config);
    d->x = (int32_t *)(memory + b->x);
    d->work = (int32_t *)(memory + b->work);
    d->out = (int32_t *)(memory + b->out);
    d->codes = (int8_t *)(memory + b->codes);
    d->rope = (int16_t *)(memory + b->rope);
    d->scores = (int32_t *)(memory + b->scores);
    d->tables = (int16_t *)(memory + b->tables);
    d->cache.rows = memory + b->cache;
    d->cache.row_size = b->cache_row;
    d->cache.num_kv_heads = d->config->num_kv_heads;
    d->cache.head_dim = d->config->head_dim;
}

static int32_t embedding_code(const uint8_t *row, uint32_t i, int bits) {
    if (bits == 8) {
        return bn_signed_byte(row[i]);
    }
    return i & 1 ? bn_high_nibble(row[i >> 1]) : bn_low_nibble(row[i >> 1]);
}

static void embed(const decoder_t *d, uint32_t token) {
    const bn_config_t *config = d->config;
    const uint8_t *embedding = d->model + d->weights->embedding;
    const uint8_t *row = embedding + 4 + token * bn_embedding_row_size(config);
    bn_scale_t scale = bn_read_scale(embedding);
    for (uint32_t i = 0; i < config->hidden_size; i++) {
        d->x[i] = bn_shift(embedding_code(row, i, config->embedding_bits) * scale.m, -(scale.e + 16));
    }
}

// codes = the norm of x, quantized
static bn_scale_t norm_x(const decoder_t *d, uint32_t gamma, int bits) {
    uint32_t n = d->config->hidden_size;
    bn_copy(d->work, d->x, 4 * n);
    return bn_norm_quant(d->work, (const int16_t *)(d->model + gamma), n, bits, d->codes);
}

// out = matrix · codes, not yet in any unit
static void multiply(const decoder_t *d, uint32_t columns, const bn_product_t *products, int count) {
    bn_bitlinear(d->config->weight_type, d->codes, columns, d->tables, products, count);
}

// Field by field: a struct returned or assigned whole would call memcpy.
static void set_product(bn_product_t *product, const uint8_t *matrix, int32_t *out, uint32_t rows) {
    product->matrix = matrix;
    product->out = out;
    product->rows = rows;
    product->wanted = NULL;
}

static void requant(const bn_product_t *product, const bn_scale_t *input_scale, int fraction_bits) {
    bn_scale_t matrix_scale = bn_read_scale(product->matrix);
    bn_scale_t scale = bn_mul(input_scale, &matrix_scale);
    bn_requant(product->out, product->rows, &scale, fraction_bits);
}

// x += matrix · norm(work), clamped
static void add_to_residual(const decoder_t *d, uint32_t gamma, uint32_t columns, uint32_t matrix) {
    int bits = d->config->activation_bits;
    bn_scale_t scale = bn_norm_quant(d->work, (const int16_t *)(d->model + gamma), columns, bits, d->codes);
    bn_product_t down;
    set_product(&down, d->model + matrix, d->out, d->config->hidden_size);
    multiply(d, columns, &down, 1);
    requant(&down, &scale, 16);
    for (uint32_t i = 0; i < d->config->hidden_size; i++) {
        int32_t sum = d->x[i] + d->out[i];
        sum = sum > RESIDUAL_LIMIT ? RESIDUAL_LIMIT : sum;
        d->x[i] = sum < -RESIDUAL_LIMIT ? -RESIDUAL_LIMIT : sum;
    }
}

// work = q, out = k then v
static int32_t *project_qkv(const decoder_t *d, uint32_t layer) {
    const bn_weights_t *w = d->weights;
    int32_t *q = d->work, *k = d->out, *v = d->out + bn_align(d->kv_size, BN_ROWS_PER_BLOCK);
    bn_scale_t scale = norm_x(d, layer + w->attn_norm, d->config->activation_bits);
    bn_product_t qkv[3];
    set_product(&qkv[0], d->model + layer + w->q, q, d->query_size);
    set_product(&qkv[1], d->model + layer + w->k, k, d->kv_size);
    set_product(&qkv[2], d->model + layer + w->v, v, d->kv_size);
    multiply(d, d->config->hidden_size, qkv, 3);
    for (int i = 0; i < 3; i++) {
        requant(&qkv[i], &scale, 12);
    }
    return v;
}

// work = the output of every head, in one unit; each head's output takes the place of its query.
static void attend_heads(const decoder_t *d, int q_exponent) {
    const bn_config_t *config = d->config;
    uint32_t n = config->head_dim;
    int8_t exponents[BN_MAX_HEADS];
    int largest = INT8_MIN;
    // Each kv head serves as many query heads as it goes into; counted, because dividing is dear.
    for (uint32_t h = 0, kv_head = 0, used = 0; h < config->num_heads; h++) {
        int32_t *head = d->work + h * n;
        int exponent = q_exponent + bn_quantize(head, n, QUERY_BITS, d->codes);
        exponents[h] = (int8_t)bn_attend(&d->cache, kv_head, d->codes, exponent, d->scores, head);
        largest = BN_MAX(largest, exponents[h]);
        used += config->num_kv_heads;
        if (used == config->num_heads) {
            used = 0;
            kv_head++;
        }
    }
    for (uint32_t h = 0; h < config->num_heads; h++) {
        int s = largest - exponents[h];
        for (uint32_t j = h * n; j < (h + 1) * n; j++) {
            d->work[j] = (d->work[j] * (1 << 12)) >> (s < 31 ? s : 31);
        }
    }
}

static void attention(const decoder_t *d, uint32_t layer) {
    const bn_config_t *config = d->config;
    int32_t *q = d->work, *k = d->out, *v = project_qkv(d, layer);
    int q_exponent = bn_rope(q, config->num_heads, config->head_dim, d->rope);
    int k_exponent = bn_rope(k, config->num_kv_heads, config->head_dim, d->rope);
    bn_cache_store(&d->cache, d->slot, k, v, k_exponent);
    attend_heads(d, q_exponent);
    add_to_residual(d, layer + d->weights->attn_sub_norm, d->query_size, layer + d->weights->o);
}

// ReLU²(gate) · up; only the ratios matter, because the norm that follows divides by the size.
static void feed_forward(const decoder_t *d, uint32_t layer) {
    const bn_weights_t *w = d->weights;
    uint32_t n = d->config->intermediate_size;
    int32_t *gate = d->work, *up = d->out;
    norm_x(d, layer + w->ffn_norm, d->config->activation_bits);
    bn_product_t gate_up[2];
    set_product(&gate_up[0], d->model + layer + w->gate, gate, n);
    set_product(&gate_up[1], d->model + layer + w->up, up, n);
    multiply(d, d->config->hidden_size, gate_up, 2);
    for (uint32_t i = 0; i < n; i++) {
        gate[i] = gate[i] > 0 ? gate[i] : 0;
    }
    bn_normalize(gate, n, 10);
    bn_normalize(up, n, 11);
    for (uint32_t i = 0; i < n; i++) {
        gate[i] = gate[i] * gate[i] * up[i];
    }
    add_to_residual(d, layer + w->ffn_sub_norm, n, layer + w->down);
}

static void forward(decoder_t *d, bn_state_t *state, uint32_t token) {
    const bn_buffers_t *b = &state->buffers;
    d->slot = state->slot;
    d->cache.rows = (uint8_t *)state + b->cache;
    d->cache.filled = state->filled < b->window ? state->filled + 1 : b->window;
    bn_rope_angles(
        d->rope, (const uint32_t *)(d->model + d->weights->rope_step), d->config->head_dim, state->position);

    embed(d, token);
    uint32_t layer = d->weights->layers;
    for (int i = 0; i < d->config->num_layers; i++) {
        attention(d, layer);
        feed_forward(d, layer);
        layer += d->weights->layer_size;
        d->cache.rows += b->window * b->cache_row;
    }

    state->position++;
    state->filled = d->cache.filled;
    state->has_x = 1;
    state->slot = d->slot + 1 < b->window ? d->slot + 1 : 0;
}

int bn_feed(void *memory, const void *model, const uint16_t *tokens, size_t count) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    // All before any, so that a refused call leaves the state as it was.
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] >= state->config.vocab_size) {
            return BN_ERR_TOKEN;
        }
    }
    decoder_t decoder;
    open_decoder(&decoder, state, model);
    for (size_t i = 0; i < count; i++) {
        forward(&decoder, state, tokens[i]);
    }
    return BN_OK;
}

// codes = norm(x) with 8 bits, the input of the head; returns its scale.
bn_scale_t bn_final_norm(bn_state_t *state, const uint8_t *model) {
    decoder_t decoder;
    open_decoder(&decoder, state, model);
    return norm_x(&decoder, state->weights.final_norm, FINAL_BITS);
}
