// Where the weights of the layers are read from: where the model lies, from a copy, or from a buffer for one
// layer that is filled in the background, because flash behind a cache is many times slower than RAM.
//
// A stream fetches parts of a layer in the order in which they are computed. The buffer has a place for each
// part, so a part can be on its way while the two before it are waiting or computed; none arrives before the
// part that had its place is finished.
#include "core.h"

enum { PARTS = BN_DOWN_PART + 1 };

static uint32_t room(const bn_config_t *config, const bn_weights_t *weights, uint32_t placement) {
    switch (placement) {
    case BN_COPIED:
        return weights->layer_size * config->num_layers;
    case BN_STREAMED:
        return weights->layer_size;
    default:
        return 0;
    }
}

uint32_t bn_room(const bn_state_t *state) {
    return room(&state->config, &state->weights, state->placement);
}

int bn_placement_size(const void *model, size_t size, unsigned placement) {
    bn_config_t config;
    bn_weights_t weights;
    int err = bn_read_header(model, size, &config);
    if (err) {
        return err;
    }
    if (placement > BN_STREAMED) {
        return BN_ERR_RANGE;
    }
    bn_locate_weights(&config, &weights);
    return (int)room(&config, &weights, placement);
}

int bn_place(void *memory, size_t state_size, const void *model, unsigned placement, int dma_channel) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    if (placement > BN_STREAMED || dma_channel < BN_NO_DMA || dma_channel > BN_LAST_DMA_CHANNEL) {
        return BN_ERR_RANGE;
    }
    if (state_size < state->buffers.size ||
        state_size - state->buffers.size < room(&state->config, &state->weights, placement)) {
        return BN_ERR_STATE;
    }
    state->placement = placement;
    state->dma_channel = dma_channel;
    state->fetched = 0;
    if (placement == BN_COPIED) {
        const uint8_t *layers = (const uint8_t *)model + state->weights.layers;
        bn_copy((uint8_t *)memory + state->buffers.size, layers, bn_room(state));
    }
    return BN_OK;
}

// The part's first byte within its layer; the end of the layer for PARTS.
static uint32_t part_start(const bn_weights_t *weights, uint32_t part) {
    switch (part) {
    case BN_ATTENTION_PART:
        return 0;
    case BN_GATE_UP_PART:
        return weights->ffn_norm;
    case BN_DOWN_PART:
        return weights->ffn_sub_norm;
    default:
        return weights->layer_size;
    }
}

void bn_open_source(bn_source_t *source, bn_state_t *state, const uint8_t *model) {
    source->state = state;
    source->layers = model + state->weights.layers;
    source->buffer = (uint8_t *)state + state->buffers.size;
    source->arrived = source->requested = state->fetched;
    source->finished = 0;
    source->next_layer = 0;
    source->next_part = state->fetched;
}

// Requests the next part if nothing is on its way and its place is free. After the last layer comes the
// first, for the next token.
void bn_fetch_ahead(bn_source_t *source) {
    const bn_state_t *state = source->state;
    if (state->placement != BN_STREAMED) {
        return;
    }
    if (source->arrived < source->requested && bn_fetch_is_done(state->dma_channel)) {
        source->arrived = source->requested;
    }
    if (source->arrived < source->requested || source->requested == source->finished + PARTS) {
        return;
    }
    if (source->next_part == PARTS) {
        source->next_part = 0;
        source->next_layer++;
        if (source->next_layer == state->config.num_layers) {
            source->next_layer = 0;
        }
    }
    uint32_t start = part_start(&state->weights, source->next_part);
    uint32_t size = part_start(&state->weights, source->next_part + 1) - start;
    const uint8_t *layer = source->layers + source->next_layer * state->weights.layer_size;
    bn_fetch(state->dma_channel, source->buffer + start, layer + start, size);
    source->next_part++;
    source->requested++;
}

const uint8_t *bn_begin_part(bn_source_t *source, uint32_t layer) {
    const bn_state_t *state = source->state;
    switch (state->placement) {
    case BN_COPIED:
        return source->buffer + layer * state->weights.layer_size;
    case BN_STREAMED:
        while (source->arrived <= source->finished) {
            bn_fetch_ahead(source);
        }
        bn_fetch_ahead(source);
        return source->buffer;
    default:
        return source->layers + layer * state->weights.layer_size;
    }
}

void bn_end_part(bn_source_t *source) {
    source->finished++;
}

// Nothing may be on its way when the caller gets its memory back. What has arrived for the next token stays.
void bn_close_source(bn_source_t *source) {
    if (source->state->placement != BN_STREAMED) {
        return;
    }
    while (source->arrived < source->requested) {
        if (bn_fetch_is_done(source->state->dma_channel)) {
            source->arrived = source->requested;
        }
    }
    source->state->fetched = source->arrived - source->finished;
}
