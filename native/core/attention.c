// RoPE, the int4 KV cache and attention: SPEC.md 2.1, steps 2 to 6.
#include "kv.h"
#include "vector.h"

enum {
    K_BITS = 4,
    V_BITS = 4,
    // Dot products stay below 2^15 with queries of 8 bits up to this head_dim, and of 7 bits beyond.
    FEW_DIMS = 32,
    FEW_DIMS_Q_BITS = 8,
    MANY_DIMS_Q_BITS = 7,
    LARGEST_PROBABILITY = (1 << BN_PROBABILITY_BITS) - 1,
    O_FRACTION_BITS = 20, // of the weighted sum of values
    FACTOR_SUM_BITS = 13, // of Σ w_t, so that Σ w_t·v_t can be multiplied with a reciprocal
};

// rope[2i] = COS, rope[2i+1] = SIN of pair i's angle at this position, which is the same in every layer and
// head.
void bn_rope_angles(int16_t *rope, const uint32_t *rope_step, uint32_t head_dim, uint32_t position) {
    for (uint32_t i = 0; i < head_dim >> 1; i++) {
        uint32_t phi = position * rope_step[i];
        rope[2 * i] = (int16_t)bn_sin(phi + BN_QUARTER_TURN);
        rope[2 * i + 1] = (int16_t)bn_sin(phi);
    }
}

// scaled = the cosines and sines of `rope`, times a scale's mantissa m
void bn_scale_angles(const int16_t *rope, int16_t *scaled, uint32_t head_dim, int32_t m) {
    for (uint32_t i = 0; i < head_dim; i++) {
        scaled[i] = (int16_t)((rope[i] * m) >> BN_FACTOR_BITS);
    }
}

// --- the cache ---

// The words that the codes of one head take.
static uint32_t words_per_head(uint32_t head_dim) {
    return (head_dim + BN_CODES_PER_WORD - 1) / BN_CODES_PER_WORD;
}

// The bytes that a row has for one kv head.
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

// HEAD_QUANT(x); returns the exponent.
static int quantize_head(const int32_t *x, uint32_t head_dim, int bits, head_t *head) {
    for (uint32_t j = head_dim; j & (BN_CODES_PER_WORD - 1); j++) {
        head->codes[j] = 0;
    }
    return bn_quantize(x, head_dim, bits, head->codes);
}

// Turns the four codes of a word into four nibbles, each the code plus BN_CODE_BIAS.
static uint32_t pack_codes(uint32_t four) {
    uint32_t nibbles = (four & 0x0F0F0F0F) ^ (BN_CODE_BIAS * 0x01010101);
    nibbles = (nibbles | nibbles >> 4) & 0x00FF00FF;
    return (nibbles | nibbles >> 8) & 0xFFFF;
}

// Writes the codes of one head to a cache row; returns the exponent.
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

// table[d] = PROBABILITY(d)
void bn_fill_softmax_table(uint8_t table[BN_SOFTMAX_TABLE_SIZE]) {
    for (int32_t distance = 0; distance < BN_SOFTMAX_TABLE_SIZE; distance++) {
        int32_t power = bn_exp2(distance << (BN_EXP2_INPUT_BITS - BN_DISTANCE_BITS));
        int32_t probability = bn_rshr(power, BN_EXP2_BITS - BN_PROBABILITY_BITS);
        table[distance] = (uint8_t)(probability < LARGEST_PROBABILITY ? probability : LARGEST_PROBABILITY);
    }
}

// Quantizes a query and pairs its codes as bn_score_rows multiplies them.
static void open_query(bn_query_t *query, const int32_t *q, uint32_t head_dim, int exponent) {
    head_t head;
    exponent += quantize_head(q, head_dim, head_dim <= FEW_DIMS ? FEW_DIMS_Q_BITS : MANY_DIMS_Q_BITS, &head);
    query->shift = BN_HALF_WORD - exponent;
    int32_t sum = 0;
    uint32_t *pair = query->pairs, *end = pair + BN_PAIRS_PER_WORD * words_per_head(head_dim);
    for (const int8_t *code = head.codes; pair < end; code += BN_CODES_PER_WORD - BN_PAIRS_PER_WORD) {
        for (const int8_t *half = code + BN_PAIRS_PER_WORD; code < half; code++) {
            sum += code[0] + code[BN_PAIRS_PER_WORD];
            *pair++ = 0 - ((uint32_t)code[0] << BN_HALF_WORD) - (uint32_t)code[BN_PAIRS_PER_WORD];
        }
    }
    query->start = ((uint32_t)(BN_CODE_BIAS * sum) << BN_HALF_WORD) + (1 << (BN_HALF_WORD - 1));
}

// Rows hold minus the exponent, which is not negative.
static uint32_t greatest_v_exponent(const bn_rows_t *rows) {
    const int8_t *exponent = (const int8_t *)rows->first + 1;
    int32_t least = 0;
    for (uint32_t t = rows->rows; t > 0; t--, exponent += rows->row_size) {
        least = *exponent < least ? *exponent : least;
    }
    return (uint32_t)-least;
}

// SPEC.md's κ: whether the factors of all rows are halved.
static uint32_t is_halved(const bn_rows_t *rows) {
    return rows->rows > BN_FEW_ROWS;
}

// head[] = Σ w_t·v_t / Σ p_t, with O_FRACTION_BITS. Σ p_t is at least LARGEST_PROBABILITY and no product
// overflows, unless the state holds something that no token has left there.
static void sum_values(
    const bn_rows_t *rows, const bn_softmax_t *softmax, const int32_t *factors, int32_t *head, uint32_t dim) {
    uint32_t p = BN_MAX(softmax->probability_sum, LARGEST_PROBABILITY);
    int length = bn_bitlen(p), bits = length - (int)is_halved(rows);
    int shift = bits > FACTOR_SUM_BITS ? bits - FACTOR_SUM_BITS : 0;
    uint32_t reciprocal = (uint32_t)bn_recip(p << (BN_RECIP_INPUT_BITS - length));
    const int extra_bits = O_FRACTION_BITS - (BN_RECIP_BITS - BN_RECIP_INPUT_BITS);
    const int32_t *end = head + dim;
    for (uint32_t word = 0; word < rows->words; word++) {
        int32_t sums[BN_CODES_PER_WORD];
        for (int j = 0; j < BN_CODES_PER_WORD; j++) {
            sums[j] = -(int32_t)(BN_CODE_BIAS * softmax->factor_sum);
        }
        bn_sum_rows(rows, 4 * (1 + rows->words + word), factors, sums);
        for (const int32_t *sum = sums; sum < sums + BN_CODES_PER_WORD && head < end; sum++) {
            *head++ = (int32_t)((uint32_t)(*sum >> shift) * reciprocal) >> (bits - extra_bits - shift);
        }
    }
}

// Replaces each query in x, int32[count][head_dim], by the attention's output for it. Returns the exponent of
// all outputs, which is the greatest of v.
uint32_t bn_attend(const bn_cache_t *cache, uint32_t kv_head, const bn_heads_t *heads, int32_t *x) {
    uint32_t dim = cache->head_dim;
    bn_rows_t rows = {
        cache->rows + kv_head * head_size(dim), cache->row_size, cache->filled, words_per_head(dim)};
    bn_softmax_t softmax;
    softmax.table = heads->softmax_table;
    uint32_t exponent = greatest_v_exponent(&rows);
    softmax.exponent = exponent + is_halved(&rows);
    for (uint32_t i = 0; i < heads->count; i++, x += dim) {
        bn_query_t query;
        open_query(&query, x, dim, heads->q_exponent);
        softmax.least = bn_score_rows(&rows, &query, heads->scores);
        bn_softmax(&rows, &softmax, heads->scores);
        sum_values(&rows, &softmax, heads->scores, x, dim);
    }
    return exponent;
}
