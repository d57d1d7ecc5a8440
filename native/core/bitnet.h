// Integer-only decoder for 1-bit and ternary language models; native/SPEC.md defines every operation.
//
// The caller owns all memory: the model (read-only, used in place) and one state buffer. Nothing is
// allocated, nothing is global, and the state holds no pointers, so it may be moved or saved between calls.
#ifndef BITNET_H
#define BITNET_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    BN_OK = 0,
    BN_ERR_ALIGN = -1,     // the model or the state is not at a multiple of 4
    BN_ERR_TRUNCATED = -2, // fewer bytes than the file says it has
    BN_ERR_MAGIC = -3,
    BN_ERR_VERSION = -4,
    BN_ERR_CHECKSUM = -5,
    BN_ERR_CONFIG = -6,  // a header field is out of its range
    BN_ERR_LAYOUT = -7,  // the parts do not add up to the file, or a table or scale in them is out of range
    BN_ERR_STATE = -8,   // the state is too small, or was initialized for another model
    BN_ERR_TOKEN = -9,   // a token id is not below vocab_size
    BN_ERR_RANGE = -10,  // another argument is out of range
    BN_ERR_EMPTY = -11,  // no token has been fed since the last reset or begin
    BN_ERR_APART = -12,  // the layers are not in the file, and this placement does not bring them
    BN_ERR_LAYERS = -13, // PSRAM does not hold the model's layers
    BN_ERR_DEADLINE = -14,
} bn_error_t;

// Where the weights of the layers are read from when tokens run.
typedef enum {
    BN_IN_PLACE = 0, // where the model lies
    BN_COPIED = 1,   // from a copy behind the state
    BN_STREAMED =
        2, // from a buffer for one layer behind the state, which is filled while the layer is computed
} bn_placement_t;

enum { BN_NO_DMA = -1, BN_LAST_DMA_CHANNEL = 11, BN_LAST_STATE_MACHINE = 7 };

// Checks everything about the model that SPEC.md lets a reader check. Returns BN_OK or an error.
int bn_check(const void *model, size_t size);

// Bytes of state for `window` positions (0: the model's own), or an error.
int bn_state_size(const void *model, size_t size, unsigned window);

// Checks the model and prepares the state at position 0.
int bn_init(void *state, size_t state_size, const void *model, size_t size, unsigned window);

// Bytes behind the state, bn_state_size() from its start, that a placement needs; or an error.
int bn_placement_size(const void *model, size_t size, unsigned placement);

// Places the weights, after bn_init, which leaves them in place. With a DMA channel of an RP2040 a stream is
// filled in the background; the channel must be the caller's. BN_NO_DMA: by the processor.
int bn_place(void *state, size_t state_size, const void *model, unsigned placement, int dma_channel);

// The same for a model whose layers are apart (SPEC.md 1.7), which can be used only then: they are streamed
// from PSRAM, where they begin at address 0, by an RP2040's state machine (those of PIO 0 first) that runs
// the reading program of device/bitnet/psram/chip.py. One DMA channel takes what it reads, another asks it
// for bursts. Reads all layers once; BN_ERR_LAYERS if they are not the model's.
int bn_place_psram(void *state, size_t state_size, const void *model, int dma_channel, int request_channel,
    int state_machine);

// For callers that cannot vouch for their buffers: BN_OK if both are as bn_init left them. The functions
// below trust the buffers to be at least as large as they were then, and compare no more than a few header
// fields.
int bn_check_state(const void *state, size_t state_size, const void *model, size_t size);

// Position 0 and an empty cache.
int bn_reset(void *state, const void *model);

// The state after the fixed beginning of a prompt: the cache is filled from the model's prefix (SPEC.md 1.5).
// Returns the position, which is 0, with an empty cache, if the model has no prefix or its prefix is longer
// than the state's window; or an error. There are no logits before the next token.
int bn_begin(void *state, const void *model);

// When to give up; the caller knows the time. `has_passed` is asked before each layer.
typedef struct bn_deadline_s {
    int (*has_passed)(const struct bn_deadline_s *deadline);
} bn_deadline_t;

// Runs `count` tokens through the model. With a deadline (else NULL) that passes: BN_ERR_DEADLINE, and the
// state is as after bn_reset.
int bn_feed(
    void *state, const void *model, const uint16_t *tokens, size_t count, const bn_deadline_t *deadline);

// Tokens since the last reset, a prefix included (2^30 − 1 if there are more), or an error.
int bn_position(const void *state, const void *model);

// Of a checked model: what the buffers below are sized by.
int bn_vocab_size(const void *model);

// Logits after the last token fed: int32[vocab_size], outside the state.
int bn_logits(void *state, const void *model, int32_t *logits);

// The best `count` of the tokens whose bit is set in `allowed` (vocab_size bits, LSB first), best first, with
// their probabilities among the allowed in permille, or without if permille is NULL. Returns how many there
// were.
int bn_top_k(void *state, const void *model, const uint8_t *allowed, unsigned count, uint16_t *tokens,
    uint16_t *permille);

// A snapshot of the cache (at most `window` positions fed so far), so that a fixed beginning is computed
// once. bn_save with buffer == NULL returns the size; both return the bytes used or an error. The buffer must
// not be part of the state.
int bn_save(const void *state, const void *model, void *buffer, size_t size);
int bn_restore(void *state, const void *model, const void *buffer, size_t size);

#endif
