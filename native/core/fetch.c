// Copies from flash in the background. On Cortex-M0+ by a DMA channel of the RP2040, if the board gives one;
// without, and on other processors, the copy is made at once.
#include "core.h"

static void copy_words(uint32_t *to, const uint32_t *from, uint32_t bytes) {
    for (const uint32_t *end = from + (bytes >> 2); from < end;) {
        *to++ = *from++;
    }
}

#if defined(__ARM_ARCH_6M__)

// RP2040 datasheet, 2.5.7: registers of a DMA channel; 2.6.3: the address of flash past its cache.
typedef struct {
    volatile uint32_t read_address, write_address, count, control_and_start;
    uint32_t aliases[12];
} dma_channel_t;

enum {
    DMA_ENABLE = 1 << 0,
    DMA_WORDS = 2 << 2,
    DMA_ADVANCE_READ = 1 << 4,
    DMA_ADVANCE_WRITE = 1 << 5,
    DMA_CHAIN_SHIFT = 11, // a channel chained to itself is not chained
    DMA_UNPACED = 63 << 15,
    DMA_BUSY = 1 << 24,
    FLASH = 0x10000000,
    FLASH_END = 0x11000000,
    FLASH_UNCACHED = 0x13000000,
};

static dma_channel_t *dma(int channel) {
    return (dma_channel_t *)0x50000000 + channel;
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
    dma(channel)->read_address = address;
    dma(channel)->write_address = (uint32_t)to;
    dma(channel)->count = bytes >> 2;
    dma(channel)->control_and_start = DMA_ENABLE | DMA_WORDS | DMA_ADVANCE_READ | DMA_ADVANCE_WRITE |
                                      DMA_UNPACED | (uint32_t)channel << DMA_CHAIN_SHIFT;
}

int bn_fetch_is_done(int channel) {
    return channel == BN_NO_DMA || !(dma(channel)->control_and_start & DMA_BUSY);
}

#else

void bn_fetch(int channel, void *to, const void *from, uint32_t bytes) {
    (void)channel;
    copy_words(to, from, bytes);
}

int bn_fetch_is_done(int channel) {
    (void)channel;
    return 1;
}

#endif
