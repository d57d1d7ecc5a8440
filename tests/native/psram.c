// Stands in for core/fetch.c on a PC: PSRAM is an array. What is fetched from there arrives when somebody
// sees that it is there, and not before.
#include <string.h>

#include "core.h"

void fill_psram(const void *data, uint32_t size);

static const uint8_t *psram;
static uint32_t psram_size;
static uint8_t *arriving_at;
static uint32_t arriving_from, arriving;

// The data stay the caller's.
void fill_psram(const void *data, uint32_t size) {
    psram = data;
    psram_size = size;
}

void bn_fetch(int channel, void *to, const void *from, uint32_t bytes) {
    (void)channel;
    memcpy(to, from, bytes);
}

void bn_fetch_psram(const bn_state_t *state, void *to, uint32_t address, uint32_t bytes) {
    (void)state;
    arriving_at = to;
    arriving_from = address;
    arriving = bytes;
}

int bn_fetch_is_done(int channel) {
    (void)channel;
    for (uint32_t i = 0; i < arriving; i++) {
        uint32_t address = arriving_from + i;
        arriving_at[i] = address < psram_size ? psram[address] : 0xFF;
    }
    arriving = 0;
    return 1;
}
