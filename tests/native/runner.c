// Runs models under the sanitizers. Every buffer is a malloc of exactly its size, so that one byte too far is
// caught. Input, repeated: u32 model_size, window, token_count, begin; the model; u16 tokens[token_count]. If
// begin is not 0, bn_begin goes before the tokens. The number of tokens decides on the placement of the
// weights; if layers are apart, they are what lies behind the file. Output for each: i32 result of bn_init
// and of placing; if that is 0, for each token i32 result of bn_feed and, if 0, the logits.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { DMA_CHANNEL = 3, REQUEST_CHANNEL = 11, STATE_MACHINE = 7 };

void fill_psram(const void *data, uint32_t size);

static void put(const void *data, size_t size) {
    if (fwrite(data, 1, size, stdout) != size) {
        exit(3);
    }
}

static void *get(size_t size) {
    void *data = malloc(size ? size : 1);
    if (data == NULL || fread(data, 1, size, stdin) != size) {
        exit(3);
    }
    return data;
}

static void expect(int condition) {
    if (!condition) {
        fprintf(stderr, "runner: a call after a good one failed\n");
        exit(4);
    }
}

// Other noise at every call.
static void add_noise(uint8_t *data, size_t size) {
    static uint32_t noise = 1;
    for (size_t i = 0; i < size; i++) {
        noise = noise * 1664525 + 1013904223;
        data[i] ^= (uint8_t)(noise >> 24);
    }
}

// A model in RAM may change after its check, and so may the state: noise in both must stay noise in the
// logits. Their headers stay, because the binding compares these at every call.
static void exercise_noise(void *state, size_t state_size, uint8_t *model, size_t size) {
    const uint16_t token = 0;
    uint16_t best, permille;
    uint32_t weights_size;
    memcpy(&weights_size, model + 32, 4);
    uint8_t *allowed = malloc((size_t)(bn_vocab_size(model) + 7) / 8);
    memset(allowed, 0xFF, (size_t)(bn_vocab_size(model) + 7) / 8);
    add_noise(model + BN_HEADER_SIZE, weights_size);
    add_noise((uint8_t *)state + sizeof(bn_state_t), state_size - sizeof(bn_state_t));
    for (int i = 0; i < 3; i++) {
        expect(bn_feed(state, model, &token, 1, NULL) == BN_OK);
        expect(bn_top_k(state, model, allowed, 1, &best, &permille) == 1);
        expect(i > 0 || bn_begin(state, model) >= 0);
    }
    expect(bn_check_state(state, state_size, model, size) == BN_OK);
    free(allowed);
}

// What bn_feed and bn_logits leave out: the results are not compared here, only the accesses are checked.
static void exercise(void *state, size_t state_size, const void *model, size_t size) {
    int vocab_size = bn_vocab_size(model);
    uint8_t *allowed = malloc((size_t)(vocab_size + 7) / 8);
    uint16_t *tokens = malloc(2 * (size_t)vocab_size), *permille = malloc(2 * (size_t)vocab_size);
    memset(allowed, 0xA5, (size_t)(vocab_size + 7) / 8);
    expect(bn_top_k(state, model, allowed, (unsigned)vocab_size, tokens, permille) >= 0);
    int snapshot_size = bn_save(state, model, NULL, 0);
    expect(snapshot_size > 0);
    void *snapshot = malloc((size_t)snapshot_size);
    expect(bn_save(state, model, snapshot, (size_t)snapshot_size) == snapshot_size);
    expect(bn_save(state, model, snapshot, (size_t)snapshot_size - 1) == BN_ERR_RANGE);
    expect(bn_restore(state, model, snapshot, (size_t)snapshot_size - 1) == BN_ERR_RANGE);
    const uint16_t three[] = {(uint16_t)(vocab_size - 1), 0, 0};
    expect(bn_feed(state, model, three, 3, NULL) == BN_OK);
    expect(bn_restore(state, model, snapshot, (size_t)snapshot_size) == snapshot_size);
    expect(bn_check_state(state, state_size, model, size) == BN_OK);
    free(snapshot);
    free(permille);
    free(tokens);
    free(allowed);
}

static void run_tokens(
    void *state, size_t state_size, const void *model, size_t size, const uint16_t *tokens, uint32_t count) {
    size_t logits_size = 4 * (size_t)bn_vocab_size(model);
    int32_t *logits = malloc(logits_size);
    for (uint32_t i = 0; i < count; i++) {
        int32_t result = bn_feed(state, model, &tokens[i], 1, NULL);
        put(&result, 4);
        if (result == BN_OK) {
            expect(bn_logits(state, model, logits) == BN_OK);
            put(logits, logits_size);
            exercise(state, state_size, model, size);
        }
    }
    free(logits);
}

static int are_layers_apart(const void *model, size_t size) {
    return size >= BN_HEADER_SIZE && ((const uint8_t *)model)[6] == 1;
}

// Moves what lies behind a file without layers into PSRAM; returns the file, in memory of its size.
static void *take_layers(void *model, uint32_t *size, void **layers) {
    uint32_t file_size = *size, layers_size = 0;
    if (are_layers_apart(model, *size)) {
        memcpy(&file_size, (const uint8_t *)model + 8, 4);
        file_size = file_size < *size ? file_size : *size;
        layers_size = *size - file_size;
    }
    *layers = malloc(layers_size ? layers_size : 1);
    memcpy(*layers, (const uint8_t *)model + file_size, layers_size);
    fill_psram(*layers, layers_size);
    *size = file_size;
    return realloc(model, file_size ? file_size : 1);
}

static int place(void *state, size_t size, const void *model, size_t model_size, unsigned placement) {
    if (!are_layers_apart(model, model_size)) {
        expect(
            bn_place_psram(state, size, model, DMA_CHANNEL, REQUEST_CHANNEL, STATE_MACHINE) == BN_ERR_RANGE);
        expect(bn_place(state, size - 1, model, placement, BN_NO_DMA) == BN_ERR_STATE);
        return bn_place(state, size, model, placement, BN_NO_DMA);
    }
    const uint16_t token = 0;
    expect(bn_check_state(state, size, model, model_size) == BN_ERR_STATE);
    expect(bn_feed(state, model, &token, 1, NULL) == BN_ERR_APART);
    expect(bn_place(state, size, model, BN_STREAMED, BN_NO_DMA) == BN_ERR_APART);
    expect(bn_place_psram(state, size, model, BN_NO_DMA, REQUEST_CHANNEL, STATE_MACHINE) == BN_ERR_RANGE);
    expect(bn_place_psram(state, size, model, DMA_CHANNEL, -1, STATE_MACHINE) == BN_ERR_RANGE);
    expect(bn_place_psram(state, size, model, DMA_CHANNEL, REQUEST_CHANNEL, 8) == BN_ERR_RANGE);
    expect(
        bn_place_psram(state, size - 1, model, DMA_CHANNEL, REQUEST_CHANNEL, STATE_MACHINE) == BN_ERR_STATE);
    int result = bn_place_psram(state, size, model, DMA_CHANNEL, REQUEST_CHANNEL, STATE_MACHINE);
    expect(bn_feed(state, model, &token, 1, NULL) == (result == BN_OK ? BN_OK : BN_ERR_APART));
    expect(bn_reset(state, model) == BN_OK);
    return result;
}

int main(void) {
    uint32_t header[4];
    while (fread(header, 1, sizeof(header), stdin) == sizeof(header)) {
        void *layers, *model = take_layers(get(header[0]), &header[0], &layers);
        uint16_t *tokens = get(2 * (size_t)header[2]);
        int32_t result = bn_check(model, header[0]);
        int needed = result == BN_OK ? bn_state_size(model, header[0], header[1]) : result;
        unsigned placement = header[2] % (BN_STREAMED + 1);
        placement = are_layers_apart(model, header[0]) ? BN_STREAMED : placement;
        int room = needed > 0 ? bn_placement_size(model, header[0], placement) : 0;
        size_t size = needed > 0 ? (size_t)(needed + room) : 1;
        void *state = malloc(size);
        if (needed > 0) {
            expect(bn_init(state, (size_t)needed - 1, model, header[0], header[1]) == BN_ERR_STATE);
            expect(bn_init(state, size, model, header[0], header[1]) == BN_OK);
            result = place(state, size, model, header[0], placement);
        } else {
            result = needed;
        }
        put(&result, 4);
        if (result == BN_OK) {
            if (header[3]) {
                expect(bn_begin(state, model) >= 0);
            }
            run_tokens(state, size, model, header[0], tokens, header[2]);
            exercise_noise(state, size, model, header[0]);
        }
        free(state);
        free(tokens);
        free(model);
        free(layers);
    }
    return 0;
}
