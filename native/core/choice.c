// Logits and the choice among allowed tokens: SPEC.md 2.1 step 3 and 2.2.
#include "core.h"

// NULL allows all.
static int is_allowed(const uint8_t *allowed, uint32_t token) {
    return allowed == NULL || (allowed[token >> 3] >> (token & 7) & 1);
}

static int32_t dot8(const int8_t *codes, const uint8_t *row, uint32_t n) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += codes[i] * bn_signed_byte(row[i]);
    }
    return sum;
}

static int32_t dot4(const int8_t *codes, const uint8_t *row, uint32_t n) {
    int32_t sum = 0;
    uint32_t i = 0;
    for (; i + 1 < n; i += 2) {
        uint32_t byte = *row++;
        sum += codes[i] * bn_low_nibble(byte) + codes[i + 1] * bn_high_nibble(byte);
    }
    return i < n ? sum + codes[i] * bn_low_nibble(*row) : sum;
}

static void tied_logits(const bn_state_t *state, const uint8_t *model, const uint8_t *allowed,
    const int8_t *codes, int32_t *logits) {
    const bn_config_t *config = &state->config;
    const uint8_t *row = model + state->weights.embedding + 4;
    uint32_t n = config->hidden_size, row_size = bn_embedding_row_size(config);
    for (uint32_t token = 0; token < config->vocab_size; token++, row += row_size) {
        if (is_allowed(allowed, token)) {
            logits[token] = config->embedding_bits == 8 ? dot8(codes, row, n) : dot4(codes, row, n);
        }
    }
}

// The state's logits, of the allowed tokens at least; returns them and their scale.
static int32_t *compute_logits(
    bn_state_t *state, const uint8_t *model, const uint8_t *allowed, bn_scale_t *scale) {
    const bn_config_t *config = &state->config;
    uint8_t *memory = (uint8_t *)state;
    int32_t *logits = (int32_t *)(memory + state->buffers.logits);
    int8_t *codes = (int8_t *)(memory + state->buffers.codes);
    const uint8_t *head = model + state->weights.head;
    bn_scale_t input_scale = bn_final_norm(state, model), head_scale = bn_read_scale(head);
    *scale = bn_mul(&input_scale, &head_scale);
    if (config->head_type == BN_TIED) {
        tied_logits(state, model, allowed, codes, logits);
    } else {
        bn_product_t product = {head, {logits, NULL}, config->vocab_size, allowed};
        uint32_t *tables = (uint32_t *)(memory + state->buffers.tables);
        bn_input_t input = {config->head_type, config->hidden_size, {codes, NULL}, tables, NULL};
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

// EXP2 of how far a logit lies below the greatest; `base` is the logits' scale times log2 e.
static uint32_t relative_probability(int32_t below, const bn_scale_t *base) {
    if (base->m == 0) {
        return (uint32_t)bn_exp2(0);
    }
    int p = bn_bitlen((uint32_t)below) - 16;
    p = p < 0 ? 0 : p;
    int c = -(base->e + 8) - p;
    int32_t z = below > 0 ? 1 << 30 : 0;
    if (c >= 0) {
        z = ((below >> p) * base->m) >> (c < 31 ? c : 31);
    }
    return (uint32_t)bn_exp2(z);
}

// The allowed token that comes next after `last` in the order of falling logits, then of rising ids; −1 if
// none does.
static int32_t next_best(const int32_t *logits, const uint8_t *allowed, uint32_t vocab_size, int32_t last) {
    int32_t best = -1;
    for (uint32_t i = 0; i < vocab_size; i++) {
        if (!is_allowed(allowed, i) || (best >= 0 && logits[i] <= logits[best])) {
            continue;
        }
        if (last < 0 || logits[i] < logits[last] || (logits[i] == logits[last] && (int32_t)i > last)) {
            best = (int32_t)i;
        }
    }
    return best;
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
    bn_scale_t log2_e = {23637, -14};
    bn_scale_t base = bn_mul(&scale, &log2_e);

    int32_t best = next_best(logits, allowed, vocab_size, -1), token = best;
    uint32_t sum = 0;
    for (uint32_t i = 0; best >= 0 && i < vocab_size; i++) {
        if (is_allowed(allowed, i)) {
            sum += relative_probability(logits[best] - logits[i], &base);
        }
    }
    unsigned found = 0;
    while (found < count && token >= 0) {
        uint32_t p = relative_probability(logits[best] - logits[token], &base);
        tokens[found] = (uint16_t)token;
        permille[found] = (uint16_t)bn_divide(1000 * p, sum);
        found++;
        token = next_best(logits, allowed, vocab_size, token);
    }
    return (int)found;
}
