// RoPE, the int4 KV cache and attention: SPEC.md 2.1, steps 2 to 5.
#include "kv.h"

enum { Q_BITS = 8, K_BITS = 4, V_BITS = 4 };

// rope[2i], rope[2i+1] = COS, SIN of pair i at this position; the same in every layer and head.
void bn_rope_angles(int16_t *rope, const uint32_t *rope_step, uint32_t head_dim, uint32_t position) {
    for (uint32_t i = 0; i < head_dim >> 1; i++) {
        uint32_t phi = position * rope_step[i];
        rope[2 * i] = (int16_t)bn_sin(phi + ((uint32_t)1 << 30));
        rope[2 * i + 1] = (int16_t)bn_sin(phi);
    }
}

// Returns the exponent by which the vector was normalized.
int bn_rope(int32_t *x, uint32_t heads, uint32_t head_dim, const int16_t *rope) {
    int exponent = bn_normalize(x, heads * head_dim, 15);
    uint32_t half = head_dim >> 1;
    for (; heads > 0; heads--, x += head_dim) {
        for (uint32_t i = 0; i < half; i++) {
            int32_t a = x[i], b = x[i + half], c = rope[2 * i], n = rope[2 * i + 1];
            x[i] = (a * c - b * n) >> 14;
            x[i + half] = (a * n + b * c) >> 14;
        }
    }
    return exponent;
}

// Words of each kv head in a row of the cache.
static uint32_t words_per_head(uint32_t head_dim) {
    return (head_dim + BN_CODES_PER_WORD - 1) / BN_CODES_PER_WORD;
}

uint32_t bn_cache_row_size(const bn_config_t *config) {
    uint32_t heads = config->num_kv_heads;
    return bn_align(heads * 8 * words_per_head(config->head_dim) + 2 * heads, 4);
}

// Of one layer's cache: from the first row's word of this kv head on.
static void open_column(
    bn_column_t *column, const bn_cache_t *cache, uint32_t first_word, uint32_t kv_head, uint32_t word) {
    uint32_t words = words_per_head(cache->head_dim);
    column->first = cache->rows + 4 * (first_word + kv_head * words + word);
    column->row_size = cache->row_size;
    column->rows = cache->filled;
}

static uint32_t first_v_word(const bn_cache_t *cache) {
    return cache->num_kv_heads * words_per_head(cache->head_dim);
}

// Quantizes a head to `bits` and pads it with zeros to a whole word. Returns the exponent.
static int quantize_head(const int32_t *x, uint32_t head_dim, int bits, int8_t codes[BN_MAX_HEAD_DIM]) {
    for (uint32_t j = head_dim; j & (BN_CODES_PER_WORD - 1); j++) {
        codes[j] = 0;
    }
    return bn_quantize(x, head_dim, bits, codes);
}

static int store_head(const int32_t *x, uint32_t head_dim, int bits, uint32_t *words) {
    int8_t codes[BN_MAX_HEAD_DIM];
    int exponent = quantize_head(x, head_dim, bits, codes);
    for (uint32_t j = 0; j < head_dim; j += BN_CODES_PER_WORD) {
        uint32_t word = 0;
        for (uint32_t i = BN_CODES_PER_WORD; i > 0; i--) {
            word = word << 4 | (uint32_t)(codes[j + i - 1] + BN_CODE_BIAS);
        }
        *words++ = word;
    }
    return exponent;
}

void bn_cache_store(
    const bn_cache_t *cache, uint32_t slot, const int32_t *k, const int32_t *v, int k_exponent) {
    uint32_t d = cache->head_dim, words = words_per_head(d);
    uint32_t *k_words = (uint32_t *)(cache->rows + slot * cache->row_size);
    uint32_t *v_words = k_words + first_v_word(cache);
    int8_t *k_exponents = (int8_t *)(v_words + first_v_word(cache));
    int8_t *v_exponents = k_exponents + cache->num_kv_heads;
    for (uint32_t head = 0; head < cache->num_kv_heads; head++, k += d, v += d) {
        *k_exponents++ = (int8_t)(store_head(k, d, K_BITS, k_words) + k_exponent);
        *v_exponents++ = (int8_t)store_head(v, d, V_BITS, v_words);
        k_words += words;
        v_words += words;
    }
}

// scores[t] = Σ q·k_t; returns the exponent of q.
static int dot_products(const bn_cache_t *cache, uint32_t kv_head, const int32_t *q, int32_t *scores) {
    int8_t codes[BN_MAX_HEAD_DIM];
    int exponent = quantize_head(q, cache->head_dim, Q_BITS, codes);
    int32_t sum = 0;
    for (uint32_t j = 0; j < cache->head_dim; j++) {
        sum += codes[j];
    }
    for (uint32_t t = 0; t < cache->filled; t++) {
        scores[t] = -BN_CODE_BIAS * sum;
    }
    for (uint32_t word = 0; word < words_per_head(cache->head_dim); word++) {
        const int8_t *code = codes + word * BN_CODES_PER_WORD;
        uint32_t pairs[BN_PAIRS_PER_WORD];
        for (int j = 0; j < BN_PAIRS_PER_WORD; j++) {
            pairs[j] = ((uint32_t)code[j] << 16) + (uint32_t)code[j + BN_PAIRS_PER_WORD];
        }
        bn_column_t column;
        open_column(&column, cache, 0, kv_head, word);
        bn_dot_rows(&column, pairs, scores);
    }
    return exponent;
}

static int largest_exponent(const bn_column_t *exponents) {
    const int8_t *exponent = (const int8_t *)exponents->first;
    int largest = INT8_MIN;
    for (uint32_t t = exponents->rows; t > 0; t--, exponent += exponents->row_size) {
        largest = BN_MAX(largest, *exponent);
    }
    return largest;
}

// head[] = Σ w_t·v_t; the codes have a bias, so their weighted sum has as many times it as the weights add up
// to.
static void weigh_values(
    const bn_cache_t *cache, uint32_t kv_head, const int32_t *weights, int32_t bias, int32_t *head) {
    for (uint32_t j = 0; j < cache->head_dim; j += BN_CODES_PER_WORD) {
        bn_column_t column;
        uint32_t sums[BN_PAIRS_PER_WORD];
        open_column(&column, cache, first_v_word(cache), kv_head, j / BN_CODES_PER_WORD);
        bn_weigh_rows(&column, weights, sums);
        for (uint32_t i = 0; i < BN_CODES_PER_WORD && j + i < cache->head_dim; i++) {
            uint32_t pair = sums[i & (BN_PAIRS_PER_WORD - 1)];
            *head++ = (int32_t)(i < BN_PAIRS_PER_WORD ? pair & 0xFFFF : pair >> 16) - bias;
        }
    }
}

static void open_exponents(bn_column_t *column, const bn_cache_t *cache, uint32_t index) {
    column->first = cache->rows + 8 * first_v_word(cache) + index;
    column->row_size = cache->row_size;
    column->rows = cache->filled;
}

// heads[count][head_dim]: each query of a kv head becomes the attention's output. Returns the exponent of all
// of them, the largest of the v exponents.
int bn_attend(const bn_cache_t *cache, uint32_t kv_head, int q_exponent, int32_t *scores, int32_t *heads,
    uint32_t count) {
    bn_column_t k_exponents, v_exponents;
    open_exponents(&k_exponents, cache, kv_head);
    open_exponents(&v_exponents, cache, cache->num_kv_heads + kv_head);
    int largest = largest_exponent(&v_exponents);
    for (; count > 0; count--, heads += cache->head_dim) {
        int exponent = q_exponent + dot_products(cache, kv_head, heads, scores) - 16;
        int32_t greatest = bn_scale_scores(&k_exponents, exponent, scores);
        uint32_t sum = bn_exponentials(scores, cache->filled, greatest);
        int length = bn_bitlen(sum);
        int32_t reciprocal = bn_recip(sum >> (length - 16));
        int32_t total = bn_value_weights(&v_exponents, reciprocal, length + 2 + largest, scores);
        weigh_values(cache, kv_head, scores, BN_CODE_BIAS * total, heads);
    }
    return largest;
}
