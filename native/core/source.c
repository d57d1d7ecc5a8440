// Where a forward pass reads the weights of the layers: from the model itself, from a copy, or from a buffer
// for one layer that is filled in the background. The last is for flash behind a cache, which is many times
// slower than RAM, and for PSRAM on pins, which cannot be read in place at all.
//
// A stream fetches the parts of the layers in the order in which they are computed. The buffer has one place
// for each kind of part. So while a part is being fetched, the two before it can be in use or wait; and a
// part is not requested before the one that was in its place is finished.
#include "core.h"

// The offset of a part's first byte in its layer; that of the layer's end for BN_PARTS.
BN_FOR_PSRAM uint32_t bn_part_start(const bn_layout_t *layout, uint32_t part) {
    switch (part) {
    case BN_ATTENTION_PART:
        return 0;
    case BN_GATE_UP_PART:
        return layout->ffn_norm;
    case BN_DOWN_PART:
        return layout->ffn_sub_norm;
    default:
        return layout->layer_size;
    }
}

// The bytes behind the state that its placement uses.
uint32_t bn_room(const bn_state_t *state) {
    return bn_room_for(&state->config, &state->layout, state->placement);
}

int bn_placement_size(const void *model, size_t size, unsigned placement) {
    bn_config_t config;
    bn_layout_t layout;
    int err = bn_read_header(model, size, &config);
    if (err) {
        return err;
    }
    if (placement > BN_STREAMED) {
        return BN_ERR_RANGE;
    }
    bn_locate_weights(&config, &layout);
    return (int)bn_room_for(&config, &layout, placement);
}

static int is_in_range(int value, int low, int high) {
    return low <= value && value <= high;
}

// Whether the placement is one that bn_place or bn_place_psram could have left.
int bn_is_placed(const bn_state_t *state) {
    if (!state->config.layers_apart) {
        return is_in_range(state->dma_channel, BN_NO_DMA, BN_LAST_DMA_CHANNEL);
    }
    return BN_HAS_PSRAM && state->placement == BN_STREAMED &&
           is_in_range(state->dma_channel, 0, BN_LAST_DMA_CHANNEL) &&
           is_in_range(state->request_channel, 0, BN_LAST_DMA_CHANNEL) &&
           is_in_range(state->state_machine, 0, BN_LAST_STATE_MACHINE);
}

void bn_open_source(bn_source_t *source, bn_state_t *state, const uint8_t *model) {
    source->state = state;
    source->layers = model + state->layout.layers;
    source->buffer = (uint8_t *)state + state->buffers.size;
    source->arrived = source->requested = state->fetched;
    source->finished = 0;
    source->next_layer = 0;
    source->next_part = state->fetched;
}

// Requests the next part if none is being fetched and its place is free. After the last layer comes the
// first, for the next token.
void bn_fetch_ahead(bn_source_t *source) {
    const bn_state_t *state = source->state;
    if (state->placement != BN_STREAMED) {
        return;
    }
    if (source->arrived < source->requested && bn_fetch_is_done(state->dma_channel)) {
        source->arrived = source->requested;
    }
    if (source->arrived < source->requested || source->requested == source->finished + BN_PARTS) {
        return;
    }
    if (source->next_part == BN_PARTS) {
        source->next_part = 0;
        source->next_layer++;
        if (source->next_layer == state->config.num_layers) {
            source->next_layer = 0;
        }
    }
    uint32_t start = bn_part_start(&state->layout, source->next_part);
    uint32_t size = bn_part_start(&state->layout, source->next_part + 1) - start;
    uint32_t from = source->next_layer * state->layout.layer_size + start;
    if (state->config.layers_apart) {
        bn_fetch_psram(state, source->buffer + start, from, size);
    } else {
        bn_fetch(state->dma_channel, source->buffer + start, source->layers + from, size);
    }
    source->next_part++;
    source->requested++;
}

// Waits until the next part of this layer is there; returns where the layer's offsets count from.
const uint8_t *bn_begin_part(bn_source_t *source, uint32_t layer) {
    const bn_state_t *state = source->state;
    switch (state->placement) {
    case BN_COPIED:
        return source->buffer + layer * state->layout.layer_size;
    case BN_STREAMED:
        while (source->arrived <= source->finished) {
            bn_fetch_ahead(source);
        }
        bn_fetch_ahead(source);
        return source->buffer;
    default:
        return source->layers + layer * state->layout.layer_size;
    }
}

void bn_end_part(bn_source_t *source) {
    source->finished++;
}

// Waits until nothing is being fetched any more, because the caller may do anything with its memory
// afterwards. Parts that have arrived for the next token stay.
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

// The same in the middle of a token, where the parts that have arrived are not those that the next token
// begins with.
void bn_stop_source(bn_source_t *source) {
    bn_close_source(source);
    source->state->fetched = 0;
}
