// Logits and the choice among allowed tokens: SPEC.md 2.1 step 3 and 2.2.
#include "kv.h"

enum { SIGNS = (int32_t)0x88888888 };
enum {
    BELOW_BITS = 16,                                     // of a distance that is multiplied with a scale's m
    NO_PROBABILITY = BN_EXP2_BITS << BN_EXP2_INPUT_BITS, // EXP2 is 0 from here on
    LARGEST_SHIFT = 16, // up to this c, EXP2 of any distance of 2^16 and more is 0
    VERY_FAR = 1 << 30, // a distance whose EXP2 is 0
    PERMILLE = 1000,
    LOG2_E_MANTISSA = 23637, // log2 e = 23637·2^−14
    LOG2_E_EXPONENT = -14,
};

// The bits of the eight tokens from `first` on, a multiple of 8: which of them are allowed. NULL allows all.
static uint32_t allowed_of_eight(const uint8_t *allowed, uint32_t first, uint32_t vocab_size) {
    uint32_t bits = allowed == NULL ? 255 : allowed[first >> 3], left = vocab_size - first;
    return left < 8 ? bits & ((1u << left) - 1) : bits;
}

// codes · row, for an embedding of 8 bits
static int32_t dot8(const int8_t *codes, const uint8_t *row, uint32_t n) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += codes[i] * bn_signed_byte(row[i]);
    }
    return sum;
}

// Puts two codes in each word, as bn_multiply_word wants them for dot4; codes beyond the n columns are 0.
// Returns what the bias of a row's codes adds to every product.
static int32_t pair_codes(int8_t *codes, uint32_t n, uint32_t *pairs) {
    int32_t sum = 0;
    for (uint32_t i = n; i & (BN_CODES_PER_WORD - 1); i++) {
        codes[i] = 0;
    }
    for (uint32_t i = 0; i < n; i += BN_CODES_PER_WORD) {
        for (uint32_t j = i; j < i + BN_PAIRS_PER_WORD; j++) {
            *pairs++ = ((uint32_t)codes[j] << BN_HALF_WORD) + (uint32_t)codes[j + BN_PAIRS_PER_WORD];
            sum += codes[j] + codes[j + BN_PAIRS_PER_WORD];
        }
    }
    return BN_CODE_BIAS * sum;
}

// codes · row, for an embedding of 4 bits, plus what the bias adds. To flip the sign bit of a nibble is to
// add BN_CODE_BIAS to it, and then nibbles are multiplied two at a time, as those of keys are.
static int32_t dot4(const uint32_t *pairs, const uint32_t *row, uint32_t n) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i += BN_CODES_PER_WORD, pairs += BN_PAIRS_PER_WORD) {
        sum += (int32_t)(bn_multiply_word(*row++ ^ SIGNS, pairs) + (1 << (BN_HALF_WORD - 1))) >> BN_HALF_WORD;
    }
    return sum;
}

static void tied_logits(const bn_state_t *state, const uint8_t *model, const uint8_t *allowed,
    const bn_input_t *input, int32_t *logits) {
    const bn_config_t *config = &state->config;
    const uint8_t *rows = model + state->layout.embedding + BN_SCALE_SIZE;
    int8_t *codes = input->codes[0];
    uint32_t n = config->hidden_size, row_size = bn_embedding_row_size(config);
    int32_t bias = config->embedding_bits == 4 ? pair_codes(codes, n, input->tables) : 0;
    for (uint32_t first = 0; first < config->vocab_size; first += 8) {
        uint32_t bits = allowed_of_eight(allowed, first, config->vocab_size);
        for (uint32_t token = first; bits != 0; token++, bits >>= 1) {
            const uint8_t *row = rows + token * row_size;
            if (!(bits & 1)) {
                continue;
            }
            logits[token] = config->embedding_bits == 8
                                ? dot8(codes, row, n)
                                : dot4(input->tables, (const uint32_t *)row, n) - bias;
        }
    }
}

// Computes the logits of at least the allowed tokens in the state's buffer; returns that, and their scale.
static int32_t *compute_logits(
    bn_state_t *state, const uint8_t *model, const uint8_t *allowed, bn_scale_t *scale) {
    const bn_config_t *config = &state->config;
    uint8_t *memory = (uint8_t *)state;
    int32_t *logits = (int32_t *)(memory + state->buffers.logits);
    int8_t *codes = (int8_t *)(memory + state->buffers.codes);
    const uint8_t *head = model + state->layout.head;
    bn_scale_t input_scale = bn_final_norm(state, model), head_scale = bn_read_scale(head);
    *scale = bn_mul(&input_scale, &head_scale);
    uint32_t *tables = (uint32_t *)(memory + state->buffers.tables);
    bn_input_t input = {
        config->head_type, config->hidden_size, BN_FINAL_NORM_BITS, {codes, NULL}, tables, NULL};
    if (config->head_type == BN_TIED) {
        tied_logits(state, model, allowed, &input, logits);
    } else {
        bn_product_t product = {head, {logits, NULL}, config->vocab_size, allowed};
        bn_bitlinear(&input, &product, 1);
    }
    return logits;
}

static int check_logits(const bn_state_t *state, const uint8_t *model) {
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    return state->has_x == 0 ? BN_ERR_EMPTY : BN_OK;
}

int bn_logits(void *memory, const void *model, int32_t *logits) {
    bn_state_t *state = memory;
    bn_scale_t scale;
    int err = check_logits(state, model);
    if (err) {
        return err;
    }
    const int32_t *all = compute_logits(state, model, NULL, &scale);
    for (uint32_t i = 0; i < state->config.vocab_size; i++) {
        logits[i] = all[i];
    }
    return BN_OK;
}

// SPEC.md 2.2's z, from a logit's distance below the greatest; `base` is the logits' scale times log2 e.
static int32_t exponent_of(int32_t below, const bn_scale_t *base) {
    int p = below < 1 << BELOW_BITS ? 0 : bn_bitlen((uint32_t)below) - BELOW_BITS;
    int c = -(base->e + BN_EXP2_INPUT_BITS) - p;
    if (base->m == 0 || below == 0) {
        return 0;
    }
    return c < 0 ? VERY_FAR : ((below >> p) * base->m) >> (c < BN_MAX_SHIFT ? c : BN_MAX_SHIFT);
}

// The least distance from which on all probabilities are 0, or UINT32_MAX. Most tokens are farther away than
// that, and one comparison leaves them out. Where the distance is 2^16 or more it is not worth finding.
static uint32_t negligible_distance(const bn_scale_t *base) {
    int c = -(base->e + BN_EXP2_INPUT_BITS);
    if (base->m == 0 || c < 0 || c > LARGEST_SHIFT) {
        return UINT32_MAX;
    }
    return bn_divide((NO_PROBABILITY << c) + (uint32_t)base->m - 1, (uint32_t)base->m);
}

// The allowed token that follows `last` in the order of falling logits and, among equal ones, of rising ids.
// The first in that order if `last` is −1. −1 if there is none.
static int32_t next_best(const int32_t *logits, const uint8_t *allowed, uint32_t vocab_size, int32_t last) {
    int32_t best = -1, greatest = INT32_MIN;
    for (uint32_t first = 0; first < vocab_size; first += 8) {
        uint32_t bits = allowed_of_eight(allowed, first, vocab_size);
        for (uint32_t i = first; bits != 0; i++, bits >>= 1) {
            int32_t logit = logits[i];
            if (logit <= greatest || !(bits & 1)) {
                continue;
            }
            if (last < 0 || logit < logits[last] || (logit == logits[last] && (int32_t)i > last)) {
                best = (int32_t)i;
                greatest = logit;
            }
        }
    }
    return best;
}

static uint32_t sum_of_probabilities(const int32_t *logits, const uint8_t *allowed, uint32_t vocab_size,
    int32_t greatest, const bn_scale_t *base) {
    uint32_t negligible = negligible_distance(base), sum = 0;
    for (uint32_t first = 0; first < vocab_size; first += 8) {
        uint32_t bits = allowed_of_eight(allowed, first, vocab_size);
        for (uint32_t i = first; bits != 0; i++, bits >>= 1) {
            // The logit of a token that is not allowed can be anything, since it was not computed.
            uint32_t below = (uint32_t)greatest - (uint32_t)logits[i];
            if (below < negligible && (bits & 1)) {
                sum += (uint32_t)bn_exp2(exponent_of((int32_t)below, base));
            }
        }
    }
    return sum;
}

int bn_top_k(void *memory, const void *model, const uint8_t *allowed, unsigned count, uint16_t *tokens,
    uint16_t *permille) {
    bn_state_t *state = memory;
    bn_scale_t scale;
    int err = check_logits(state, model);
    if (err) {
        return err;
    }
    uint32_t vocab_size = state->config.vocab_size;
    const int32_t *logits = compute_logits(state, model, allowed, &scale);
    unsigned found = 0;
    int32_t token = next_best(logits, allowed, vocab_size, -1);
    for (; found < count && token >= 0; found++) {
        tokens[found] = (uint16_t)token;
        if (found + 1 < count) {
            token = next_best(logits, allowed, vocab_size, token);
        }
    }
    if (found == 0 || permille == NULL) {
        return (int)found;
    }
    bn_scale_t log2_e = {LOG2_E_MANTISSA, LOG2_E_EXPONENT};
    bn_scale_t base = bn_mul(&scale, &log2_e);
    int32_t greatest = logits[tokens[0]];
    uint32_t sum = sum_of_probabilities(logits, allowed, vocab_size, greatest, &base);
    for (unsigned i = 0; i < found; i++) {
        uint32_t p = (uint32_t)bn_exp2(exponent_of(greatest - logits[tokens[i]], &base));
        permille[i] = (uint16_t)bn_divide(PERMILLE * p, sum);
    }
    return (int)found;
}
