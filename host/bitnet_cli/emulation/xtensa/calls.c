// Calls functions on request: first comes what memory is shared, then the calls, one by one.
#include "guest.h"

typedef struct {
    uint32_t address, size, offset;
} region_t;

enum { CODE, HEAP, REGIONS };

typedef struct {
    int32_t file;
    region_t regions[REGIONS];
} memory_t;

typedef struct {
    int32_t (*function)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t);
    uint32_t arguments[6];
} call_t;

void guest_main(void) {
    memory_t memory;
    if (guest_read(&memory, sizeof(memory))) {
        for (int i = 0; i < REGIONS; i++) {
            const region_t *region = &memory.regions[i];
            guest_map(region->address, region->size, memory.file, region->offset);
        }
    }
    call_t call;
    while (guest_read(&call, sizeof(call))) {
        const uint32_t *a = call.arguments;
        int32_t result = call.function(a[0], a[1], a[2], a[3], a[4], a[5]);
        guest_write(&result, sizeof(result));
    }
}
