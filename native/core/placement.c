// Choosing where the weights of the layers are read from, once, after bn_init.
#include "core.h"

static int place(bn_state_t *state, size_t state_size, unsigned placement, int dma_channel) {
    if (state_size < state->buffers.size ||
        state_size - state->buffers.size < bn_room_for(&state->config, &state->layout, placement)) {
        return BN_ERR_STATE;
    }
    state->placement = placement;
    state->dma_channel = dma_channel;
    state->fetched = 0;
    return bn_is_placed(state) ? BN_OK : BN_ERR_RANGE;
}

int bn_place(void *memory, size_t state_size, const void *model, unsigned placement, int dma_channel) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    if (placement > BN_STREAMED) {
        return BN_ERR_RANGE;
    }
    if (state->config.layers_apart) {
        return BN_ERR_APART;
    }
    err = place(state, state_size, placement, dma_channel);
    if (err == BN_OK && placement == BN_COPIED) {
        const uint8_t *layers = (const uint8_t *)model + state->layout.layers;
        bn_copy((uint8_t *)memory + state->buffers.size, layers, bn_room(state));
    }
    return err;
}

#if BN_HAS_PSRAM

// Reads all layers once, in the way in which every token will read them, and checks them.
static int check_layers(bn_state_t *state, const uint8_t *model) {
    const bn_layout_t *layout = &state->layout;
    bn_source_t source;
    uint32_t crc = 0;
    int sound = 1;
    bn_open_source(&source, state, model);
    for (uint32_t i = 0; i < state->config.num_layers; i++) {
        for (uint32_t part = 0; part < BN_PARTS; part++) {
            const uint8_t *layer = bn_begin_part(&source, i);
            uint32_t start = bn_part_start(layout, part);
            crc = bn_crc32(crc, layer + start, bn_part_start(layout, part + 1) - start);
            sound = sound && bn_is_part(layer, part, &state->config, layout);
            bn_end_part(&source);
        }
    }
    bn_close_source(&source);
    if (crc != bn_layers_crc(model)) {
        return BN_ERR_LAYERS;
    }
    return sound ? BN_OK : BN_ERR_LAYOUT;
}

int bn_place_psram(void *memory, size_t state_size, const void *model, int dma_channel, int request_channel,
    int state_machine) {
    bn_state_t *state = memory;
    int err = bn_check_owner(state, model);
    if (err) {
        return err;
    }
    if (!state->config.layers_apart || state->layout.layer_size * state->config.num_layers > BN_PSRAM_SIZE) {
        return BN_ERR_RANGE;
    }
    state->request_channel = request_channel;
    state->state_machine = state_machine;
    err = place(state, state_size, BN_STREAMED, dma_channel);
    err = err ? err : check_layers(state, model);
    if (err) {
        state->placement = BN_UNPLACED;
    }
    return err;
}

#else

int bn_place_psram(void *memory, size_t state_size, const void *model, int dma_channel, int request_channel,
    int state_machine) {
    (void)state_size;
    (void)dma_channel;
    (void)request_channel;
    (void)state_machine;
    int err = bn_check_owner(memory, model);
    return err ? err : BN_ERR_APART;
}

#endif
