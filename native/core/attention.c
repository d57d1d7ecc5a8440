// RoPE, the int4 KV cache and attention: SPEC.md 2.1, steps 2 to 6.
#include "kv.h"
#include "vector.h"

enum { K_BITS = 4, V_BITS = 4 };
enum { FEW_DIMS = 32 }; // up to so many, sums of queries of 8 bits stay below 2^15
enum { LARGEST_WEIGHT = 255 };

// rope[2i], rope[2i+1] = COS, SIN of pair i at this position; the same in every layer and head.
void bn_rope_angles(int16_t *rope, const uint32_t *rope_step, uint32_t head_dim, uint32_t position) {
    for (uint32_t i = 0; i < head_dim >> 1; i++) {
        uint32_t phi = position * rope_step[i];
        rope[2 * i] = (int16_t)bn_sin(phi + ((uint32_t)1 << 30));
        rope[2 * i + 1] = (int16_t)bn_sin(phi);
    }
}

void bn_scale_angles(const int16_t *rope, int16_t *scaled, uint32_t head_dim, int32_t m) {
    for (uint32_t i = 0; i < head_dim; i++) {
        scaled[i] = (int16_t)((rope[i] * m) >> 15);
    }
}

// --- the cache ---

// Words of the codes of one head.
static uint32_t words_per_head(uint32_t head_dim) {
    return (head_dim + BN_CODES_PER_WORD - 1) / BN_CODES_PER_WORD;
}

// What a row holds of one kv head.
static uint32_t head_size(uint32_t head_dim) {
    return 4 + 8 * words_per_head(head_dim);
}

uint32_t bn_cache_row_size(const bn_config_t *config) {
    return config->num_kv_heads * head_size(config->head_dim);
}

// The codes of a head, padded with zeros to whole words.
typedef union {
    int8_t codes[BN_MAX_HEAD_DIM];
    uint32_t fours[BN_MAX_HEAD_DIM / 4];
} head_t;

// Returns the exponent.
static int quantize_head(const int32_t *x, uint32_t head_dim, int bits, head_t *head) {
    for (uint32_t j = head_dim; j & (BN_CODES_PER_WORD - 1); j++) {
        head->codes[j] = 0;
    }
    return bn_quantize(x, head_dim, bits, head->codes);
}

// Four codes, each plus BN_CODE_BIAS, as nibbles.
static uint32_t pack_codes(uint32_t four) {
    uint32_t nibbles = (four & 0x0F0F0F0F) ^ (BN_CODE_BIAS * 0x01010101);
    nibbles = (nibbles | nibbles >> 4) & 0x00FF00FF;
    return (nibbles | nibbles >> 8) & 0xFFFF;
}

static int store_head(const int32_t *x, uint32_t head_dim, int bits, uint32_t *words) {
    head_t head;
    int exponent = quantize_head(x, head_dim, bits, &head);
    for (uint32_t i = 0; i < 2 * words_per_head(head_dim); i += 2) {
        *words++ = pack_codes(head.fours[i]) | pack_codes(head.fours[i + 1]) << 16;
    }
    return exponent;
}

void bn_cache_store(
    const bn_cache_t *cache, uint32_t slot, const int32_t *k, const int32_t *v, int k_exponent) {
    uint32_t d = cache->head_dim, words = words_per_head(d);
    uint32_t *part = (uint32_t *)(cache->rows + slot * cache->row_size);
    for (uint32_t head = 0; head < cache->num_kv_heads; head++, k += d, v += d) {
        int e_k = store_head(k, d, K_BITS, part + 1) + k_exponent;
        int e_v = store_head(v, d, V_BITS, part + 1 + words);
        part[0] = (uint32_t)(-e_k & 255) | (uint32_t)(-e_v & 255) << 8;
        part += 1 + 2 * words;
    }
}

// --- attention ---

void bn_fill_weights(uint8_t weights[BN_NO_WEIGHT]) {
    for (int32_t distance = 0; distance < BN_NO_WEIGHT; distance++) {
        int32_t weight = bn_rshr(bn_exp2(distance << 2), 7);
        weights[distance] = (uint8_t)(weight < LARGEST_WEIGHT ? weight : LARGEST_WEIGHT);
    }
}

static void open_query(bn_query_t *query, const int32_t *q, uint32_t head_dim, int exponent) {
    head_t head;
    exponent += quantize_head(q, head_dim, head_dim <= FEW_DIMS ? 8 : 7, &head);
    query->shift = 16 - exponent;
    int32_t sum = 0;
    uint32_t *pair = query->pairs, *end = pair + BN_PAIRS_PER_WORD * words_per_head(head_dim);
    for (const int8_t *code = head.codes; pair < end; code += BN_CODES_PER_WORD - BN_PAIRS_PER_WORD) {
        for (const int8_t *half = code + BN_PAIRS_PER_WORD; code < half; code++) {
            sum += code[0] + code[BN_PAIRS_PER_WORD];
            *pair++ = 0 - ((uint32_t)code[0] << 16) - (uint32_t)code[BN_PAIRS_PER_WORD];
        }
    }
    query->start = ((uint32_t)(BN_CODE_BIAS * sum) << 16) + (1 << 15);
}

static uint32_t greatest_v_exponent(const bn_rows_t *rows) {
    const int8_t *exponent = (const int8_t *)rows->first + 1;
    int32_t least = 0;
    for (uint32_t t = rows->rows; t > 0; t--, exponent += rows->row_size) {
        least = *exponent < least ? *exponent : least;
    }
    return (uint32_t)-least;
}

static uint32_t is_halved(const bn_rows_t *rows) {
    return rows->rows > BN_FEW_ROWS;
}

// head[] = Σ w_t·v_t / Σ p_t, with 20 fraction bits. Σ p_t is LARGEST_WEIGHT at least, and products fit,
// unless the state holds what no token has left there.
static void weigh_values(
    const bn_rows_t *rows, const bn_softmax_t *softmax, const int32_t *weights, int32_t *head, uint32_t dim) {
    uint32_t p = BN_MAX(softmax->p, LARGEST_WEIGHT);
    int length = bn_bitlen(p), bits = length - (int)is_halved(rows), down = bits > 13 ? bits - 13 : 0;
    uint32_t reciprocal = (uint32_t)bn_recip(p << (16 - length));
    const int32_t *end = head + dim;
    for (uint32_t word = 0; word < rows->words; word++) {
        int32_t sums[BN_CODES_PER_WORD];
        for (int j = 0; j < BN_CODES_PER_WORD; j++) {
            sums[j] = -(int32_t)(BN_CODE_BIAS * softmax->w);
        }
        bn_weigh_rows(rows, 4 * (1 + rows->words + word), weights, sums);
        for (const int32_t *sum = sums; sum < sums + BN_CODES_PER_WORD && head < end; sum++) {
            *head++ = (int32_t)((uint32_t)(*sum >> down) * reciprocal) >> (bits - 6 - down);
        }
    }
}

// heads[count][head_dim]: each query of a kv head becomes the attention's output. Returns the exponent of all
// of them, the greatest of v.
uint32_t bn_attend(const bn_cache_t *cache, uint32_t kv_head, const bn_heads_t *heads, int32_t *x) {
    uint32_t dim = cache->head_dim;
    bn_rows_t rows = {
        cache->rows + kv_head * head_size(dim), cache->row_size, cache->filled, words_per_head(dim)};
    bn_softmax_t softmax;
    softmax.weights = heads->weights;
    uint32_t exponent = greatest_v_exponent(&rows);
    softmax.exponent = exponent + is_halved(&rows);
    for (uint32_t i = 0; i < heads->count; i++, x += dim) {
        bn_query_t query;
        open_query(&query, x, dim, heads->q_exponent);
        softmax.least = bn_score_rows(&rows, &query, heads->scores);
        bn_weigh_scores(&rows, &softmax, heads->scores);
        weigh_values(&rows, &softmax, heads->scores, x, dim);
    }
    return exponent;
}
