// Integer-only decoder for 1-bit and ternary language models; native/SPEC.md defines every operation.
//
// The caller owns all memory: the model, which is used in place and never written to, and one state buffer.
// Nothing is allocated, nothing is global, and the state holds no pointers, so it may be moved or saved
// between calls.
#ifndef BITNET_H
#define BITNET_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    BN_OK = 0,
    // The model or the state is not at a multiple of 4.
    BN_ERR_ALIGN = -1,
    // There are fewer bytes than the file says it has.
    BN_ERR_TRUNCATED = -2,
    BN_ERR_MAGIC = -3,
    BN_ERR_VERSION = -4,
    BN_ERR_CHECKSUM = -5,
    // A header field is out of its range.
    BN_ERR_CONFIG = -6,
    // The parts do not add up to the file, or a table or scale in them is out of range.
    BN_ERR_LAYOUT = -7,
    // The state is too small, or was initialized for another model.
    BN_ERR_STATE = -8,
    // A token id is not below vocab_size.
    BN_ERR_TOKEN = -9,
    // Another argument is out of range.
    BN_ERR_RANGE = -10,
    // No token has been fed since the last reset or begin.
    BN_ERR_EMPTY = -11,
    // The layers are not in the model's file, and this placement cannot read them from elsewhere.
    BN_ERR_APART = -12,
    // PSRAM does not hold the model's layers.
    BN_ERR_LAYERS = -13,
    // The deadline passed before all tokens had run.
    BN_ERR_DEADLINE = -14,
} bn_error_t;

// Where the weights of the layers are read from when tokens run.
typedef enum {
    // From the model itself.
    BN_IN_PLACE = 0,
    // From a copy of all layers, behind the state.
    BN_COPIED = 1,
    // From a buffer for one layer, behind the state. While one part of a layer is computed, the next is
    // fetched.
    BN_STREAMED = 2,
} bn_placement_t;

enum { BN_MAX_WINDOW = 256 };
enum { BN_NO_DMA = -1, BN_LAST_DMA_CHANNEL = 11, BN_LAST_STATE_MACHINE = 7 };

// Checks everything about the model that SPEC.md lets a reader check. Returns BN_OK or an error.
int bn_check(const void *model, size_t size);

// The size in bytes of a state for `window` positions (0: as many as the model says), or an error.
int bn_state_size(const void *model, size_t size, unsigned window);

// Checks the model and prepares the state, with position 0 and an empty cache.
int bn_init(void *state, size_t state_size, const void *model, size_t size, unsigned window);

// The bytes that a placement needs behind the state, which itself takes bn_state_size() bytes; or an error.
int bn_placement_size(const void *model, size_t size, unsigned placement);

// Chooses where weights are read from; after bn_init alone, that is in place. If `dma_channel` is a DMA
// channel of an RP2040, which the caller must have reserved, it fetches streamed weights in the background.
// If it is BN_NO_DMA, the processor copies them.
int bn_place(void *state, size_t state_size, const void *model, unsigned placement, int dma_channel);

// The same for a model whose layers are apart (SPEC.md 1.7), which cannot run without this call. The layers
// begin at address 0 of PSRAM and are streamed from there by a PIO state machine of an RP2040 (0 to 3 are
// those of PIO 0, 4 to 7 those of PIO 1), which must be running the reading program of
// device/bitnet/psram/chip.py. `dma_channel` takes what the state machine reads, `request_channel` asks it
// for bursts. Reads all layers once and returns BN_ERR_LAYERS if they are not the model's.
int bn_place_psram(void *state, size_t state_size, const void *model, int dma_channel, int request_channel,
    int state_machine);

// BN_OK if the state was made by bn_init for this model and has kept its size: for callers that cannot be
// sure of their buffers. The functions below compare only a few header fields, and trust both buffers to be
// as large as they were for bn_init.
int bn_check_state(const void *state, size_t state_size, const void *model, size_t size);

// Returns to position 0 and an empty cache.
int bn_reset(void *state, const void *model);

// Goes to the end of a prompt's fixed beginning, by filling the cache from the model's prefix (SPEC.md 1.5).
// Returns the position there, or an error. If the model has no prefix, or one that is longer than the state's
// window, the position is 0 and the cache empty. There are no logits until the next token is fed.
int bn_begin(void *state, const void *model);

// When to give up. The core knows no time: it calls `has_passed` before each layer.
typedef struct bn_deadline_s {
    int (*has_passed)(const struct bn_deadline_s *deadline);
} bn_deadline_t;

// Runs `count` tokens through the model. `deadline` may be NULL; if it passes, returns BN_ERR_DEADLINE, and
// the state is as after bn_reset.
int bn_feed(
    void *state, const void *model, const uint16_t *tokens, size_t count, const bn_deadline_t *deadline);

// The number of tokens since the last reset, including those of a prefix, but at most 2^30 − 1; or an error.
int bn_position(const void *state, const void *model);

// The vocabulary's size, for the buffers below. The model must have been checked.
int bn_vocab_size(const void *model);

// Computes the logits after the last token fed. `logits` is int32[vocab_size] and must not be part of the
// state.
int bn_logits(void *state, const void *model, int32_t *logits);

// Finds the `count` tokens with the greatest logits among those whose bit is set in `allowed` (vocab_size
// bits, LSB first), and puts them in `tokens`, the greatest first. If `permille` is not NULL, it gets their
// probabilities among the allowed tokens. Returns how many tokens were found, or an error.
int bn_top_k(void *state, const void *model, const uint8_t *allowed, unsigned count, uint16_t *tokens,
    uint16_t *permille);

// Save what has been fed so far to a snapshot, and restore it, so that a fixed beginning is computed only
// once. A snapshot holds the cache, thus at most `window` positions. Both return the snapshot's size in bytes
// or an error; with buffer == NULL, bn_save returns the size that it needs. The buffer must not be part of
// the state.
int bn_save(const void *state, const void *model, void *buffer, size_t size);
int bn_restore(void *state, const void *model, const void *buffer, size_t size);

#endif
