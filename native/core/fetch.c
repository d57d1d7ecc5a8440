// Copies from flash or PSRAM in the background. On Cortex-M0+ that is done by DMA channels of the RP2040, if
// the board has given any. Otherwise, and on other processors, the processor copies at once, and there is no
// PSRAM.
#include "core.h"

static void copy_words(uint32_t *to, const uint32_t *from, uint32_t bytes) {
    for (const uint32_t *end = from + (bytes >> 2); from < end;) {
        *to++ = *from++;
    }
}

#if defined(__ARM_ARCH_6M__)

// RP2040 datasheet, 2.5.7: the registers of a DMA channel; 2.6.3: the addresses of flash that bypass its
// cache.
typedef struct {
    volatile uint32_t read_address, write_address, count, control_and_start;
    uint32_t aliases[12];
} dma_channel_t;

enum {
    DMA_ENABLE = 1 << 0,
    DMA_WORDS = 2 << 2,
    DMA_ADVANCE_READ = 1 << 4,
    DMA_ADVANCE_WRITE = 1 << 5,
    DMA_CHAIN_SHIFT = 11, // a channel that names itself here starts no other when it is done
    DMA_PACE_SHIFT = 15,
    DMA_UNPACED = 63 << DMA_PACE_SHIFT,
    DMA_SWAP_BYTES = 1 << 22,
    DMA_BUSY = 1 << 24,
    FLASH = 0x10000000,
    FLASH_END = 0x11000000,
    FLASH_UNCACHED = 0x13000000,
};

// 3.7: the queues of a PIO's state machines; 2.5.3.1: the signals that pace the channels that fill and empty
// them.
typedef struct {
    volatile uint32_t ctrl, fstat, fdebug, flevel, sent[4], received[4];
} pio_t;

enum { PACE_SENT = 0, PACE_RECEIVED = 4, PACES_PER_PIO = 8, MACHINES_PER_PIO = 4 };

static dma_channel_t *dma(int channel) {
    return (dma_channel_t *)0x50000000 + channel;
}

static void start(
    int channel, const volatile void *from, volatile void *to, uint32_t count, uint32_t control) {
    dma(channel)->read_address = (uint32_t)from;
    dma(channel)->write_address = (uint32_t)to;
    dma(channel)->count = count;
    dma(channel)->control_and_start = DMA_ENABLE | DMA_WORDS | (uint32_t)channel << DMA_CHAIN_SHIFT | control;
}

void bn_fetch(int channel, void *to, const void *from, uint32_t bytes) {
    if (channel == BN_NO_DMA) {
        copy_words(to, from, bytes);
        return;
    }
    uint32_t address = (uint32_t)from;
    if (FLASH <= address && address < FLASH_END) {
        address += FLASH_UNCACHED - FLASH;
    }
    uint32_t control = DMA_ADVANCE_READ | DMA_ADVANCE_WRITE | DMA_UNPACED;
    start(channel, (const void *)address, to, bytes >> 2, control);
}

// The state machine's program counts bursts itself, downwards from what it is sent first, the inverted number
// of the first burst. After that it reads one burst for every zero that it is sent.
void bn_fetch_psram(const bn_state_t *state, void *to, uint32_t address, uint32_t bytes) {
    uint32_t number = (uint32_t)state->state_machine / MACHINES_PER_PIO;
    uint32_t machine = (uint32_t)state->state_machine % MACHINES_PER_PIO;
    pio_t *pio = (pio_t *)(0x50200000 + (number << 20));
    uint32_t pace = number * PACES_PER_PIO + machine;
    pio->sent[machine] = ~(address / BN_PSRAM_BURST);
    start(state->request_channel, &state->request, &pio->sent[machine], bytes / BN_PSRAM_BURST,
        (pace + PACE_SENT) << DMA_PACE_SHIFT);
    start(state->dma_channel, &pio->received[machine], to, bytes >> 2,
        (pace + PACE_RECEIVED) << DMA_PACE_SHIFT | DMA_ADVANCE_WRITE | DMA_SWAP_BYTES);
}

int bn_fetch_is_done(int channel) {
    return channel == BN_NO_DMA || !(dma(channel)->control_and_start & DMA_BUSY);
}

#else

void bn_fetch(int channel, void *to, const void *from, uint32_t bytes) {
    (void)channel;
    copy_words(to, from, bytes);
}

void bn_fetch_psram(const bn_state_t *state, void *to, uint32_t address, uint32_t bytes) {
    (void)state;
    (void)to;
    (void)address;
    (void)bytes;
}

int bn_fetch_is_done(int channel) {
    (void)channel;
    return 1;
}

#endif
