// RoPE, the int4 KV cache and attention: SPEC.md 2.1, steps 2 to 5.
#include "core.h"

enum { K_BITS = 4, V_BITS = 4 };

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

static int store_head(const int32_t *x, uint32_t head_dim, int bits, uint8_t *nibbles) {
    int8_t codes[BN_MAX_HEAD_DIM];
    int exponent = bn_quantize(x, head_dim, bits, codes);
    for (uint32_t j = 0; j < head_dim; j += 2) {
        *nibbles++ = (uint8_t)((codes[j] & 15) | (codes[j + 1] & 15) << 4);
    }
    return exponent;
}

void bn_cache_store(
    const bn_cache_t *cache, uint32_t slot, const int32_t *k, const int32_t *v, int k_exponent) {
    uint32_t heads = cache->num_kv_heads, d = cache->head_dim;
    uint8_t *k_codes = cache->rows + slot * cache->row_size;
    uint8_t *v_codes = k_codes + (heads * d >> 1);
    int8_t *k_exponents = (int8_t *)k_codes + heads * d;
    int8_t *v_exponents = k_exponents + heads;
    for (uint32_t head = 0; head < heads; head++) {
        k_exponents[head] =
            (int8_t)(store_head(k + head * d, d, K_BITS, k_codes + (head * d >> 1)) + k_exponent);
        v_exponents[head] = (int8_t)store_head(v + head * d, d, V_BITS, v_codes + (head * d >> 1));
    }
}

static int32_t dot(const int8_t *q, const uint8_t *nibbles, uint32_t n) {
    int32_t sum = 0;
    for (uint32_t j = 0; j < n; j += 2) {
        uint32_t byte = *nibbles++;
        sum += q[j] * bn_low_nibble(byte) + q[j + 1] * bn_high_nibble(byte);
    }
    return sum;
}

static void add_weighted(int32_t *out, int32_t weight, const uint8_t *nibbles, uint32_t n) {
    for (uint32_t j = 0; j < n; j += 2) {
        uint32_t byte = *nibbles++;
        out[j] += weight * bn_low_nibble(byte);
        out[j + 1] += weight * bn_high_nibble(byte);
    }
}

// scores[t] = p_t in Q15; returns their sum.
static uint32_t attention_weights(
    const bn_cache_t *cache, uint32_t kv_head, const int8_t *q, int q_exponent, int32_t *scores) {
    uint32_t d = cache->head_dim;
    const uint8_t *k = cache->rows + (kv_head * d >> 1);
    const int8_t *k_exponent = (const int8_t *)cache->rows + cache->num_kv_heads * d + kv_head;
    int32_t largest = INT32_MIN;
    for (uint32_t t = 0; t < cache->filled; t++, k += cache->row_size, k_exponent += cache->row_size) {
        int32_t z = dot(q, k, d);
        int net = q_exponent + *k_exponent - 16;
        z = net >= 0 ? z * ((int32_t)1 << (net < 14 ? net : 14)) : bn_rshr(z, -net);
        scores[t] = z;
        largest = z > largest ? z : largest;
    }
    uint32_t sum = 0;
    for (uint32_t t = 0; t < cache->filled; t++) {
        scores[t] = bn_exp2(largest - scores[t]);
        sum += (uint32_t)scores[t];
    }
    return sum;
}

// out[head_dim] = the attention of one query head; returns its exponent, the largest of the v exponents.
int bn_attend(const bn_cache_t *cache, uint32_t kv_head, const int8_t *q, int q_exponent, int32_t *scores,
    int32_t *out) {
    uint32_t d = cache->head_dim, kv_size = cache->num_kv_heads * d;
    uint32_t sum = attention_weights(cache, kv_head, q, q_exponent, scores);
    int length = bn_bitlen(sum);
    int32_t reciprocal = bn_recip(sum >> (length - 16));

    const int8_t *v_exponents = (const int8_t *)cache->rows + kv_size + cache->num_kv_heads + kv_head;
    int largest = INT8_MIN;
    for (uint32_t t = 0; t < cache->filled; t++) {
        largest = BN_MAX(largest, v_exponents[t * cache->row_size]);
    }

    const uint8_t *v = cache->rows + (kv_size >> 1) + (kv_head * d >> 1);
    bn_clear(out, d);
    for (uint32_t t = 0; t < cache->filled; t++, v += cache->row_size) {
        int s = length + 2 + largest - v_exponents[t * cache->row_size];
        int32_t weight = (scores[t] * reciprocal) >> (s < 31 ? s : 31);
        if (weight != 0) {
            add_weighted(out, weight, v, d);
        }
    }
    return largest;
}
