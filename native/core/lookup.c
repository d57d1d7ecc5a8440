// lookup.h for every processor. Two entries of 16 bits are computed in one word, and stored together.
#include "lookup.h"

enum { BINARY_COLUMNS = 8, TERNARY_COLUMNS = 5 };

// c in both halves of a word, of which the low one must not become negative
static uint32_t both_halves(int32_t c) {
    return (uint32_t)c * 0x10001;
}

static uint32_t high_half(int32_t c) {
    return (uint32_t)c << 16;
}

static void store_and_add(uint32_t *to, uint32_t w[4], uint32_t step) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        to[i] = w[i];
        w[i] += step;
    }
}

// to[b] = first + Σ steps[j], bit j of b set, for b < 128. Four words at a time: from one four to the next
// the lowest bit that becomes 1 counts, less all those below it that become 0.
static void write_binary_sums(uint32_t *to, uint32_t first, const uint32_t *steps) {
    uint32_t w[4] = {first, first + steps[0], first + steps[1], first + steps[0] + steps[1]};
    uint32_t s2 = steps[2], s3 = steps[3] - s2, s4 = steps[4] - steps[3] - s2;
    uint32_t s5 = steps[5] - steps[4] - steps[3] - s2;
    uint32_t s6 = steps[6] - steps[5] - steps[4] - steps[3] - s2;
    for (int i = 0; i < 4; i++, to += 32) {
        store_and_add(to, w, s2);
        store_and_add(to + 4, w, s3);
        store_and_add(to + 8, w, s2);
        store_and_add(to + 12, w, s4);
        store_and_add(to + 16, w, s2);
        store_and_add(to + 20, w, s3);
        store_and_add(to + 24, w, s2);
        store_and_add(to + 28, w, i == 1 ? s6 : s5);
    }
}

void bn_build_binary(uint32_t *tables, const int8_t *codes, uint32_t groups) {
    for (; groups > 0; groups--, codes += BINARY_COLUMNS, tables += BN_TABLE_SIZE / 2) {
        uint32_t steps[BINARY_COLUMNS];
        int32_t sum = 0;
        for (int j = 0; j < BINARY_COLUMNS; j++) {
            sum += codes[j];
            steps[j] = both_halves(2 * codes[j]);
        }
        uint32_t none = both_halves(BN_TABLE_BIAS - sum);
        write_binary_sums(tables, none + high_half(2 * codes[0]), steps + 1);
    }
}

static uint32_t pair(int32_t first, int32_t second) {
    return (uint32_t)first + high_half(second);
}

void bn_build_binary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups) {
    for (; groups > 0; groups--, tables += BN_TABLE_SIZE) {
        uint32_t steps[BINARY_COLUMNS], none = 0;
        for (int j = 0; j < BINARY_COLUMNS; j++) {
            uint32_t codes = pair(*first++, *second++);
            none -= codes;
            steps[j] = 2 * codes;
        }
        write_binary_sums(tables, none, steps);
        write_binary_sums(tables + BN_TABLE_SIZE / 2, none + steps[BINARY_COLUMNS - 1], steps);
    }
}

// Repeats the first `size` words with each value, 0 to 2, of `digits` more digits, the lowest changing
// fastest; returns the end.
static uint32_t *write_ternary_sums(uint32_t *to, uint32_t size, const uint32_t *steps, int digits) {
    for (int j = 0; j < digits; j++, size *= 3) {
        // Digit 2 is digit 1 plus the step again, so one run over both copies.
        uint32_t *end = to + 2 * size;
        for (uint32_t *from = to, *next = to + size; from < end;) {
            *next++ = *from++ + steps[j];
        }
    }
    return to + size;
}

// In the order of SPEC.md 1.2: first the entries whose highest digit is 0 or 1, in pairs; then those where it
// is 2, by the next digit in the same way.
void bn_build_ternary(uint32_t *tables, const int8_t *codes, uint32_t groups) {
    for (; groups > 0; groups--, codes += TERNARY_COLUMNS, tables += BN_TABLE_SIZE / 2) {
        uint32_t steps[TERNARY_COLUMNS];
        int32_t sum = BN_TABLE_BIAS;
        for (int j = 0; j < TERNARY_COLUMNS; j++) {
            sum -= codes[j];
            steps[j] = both_halves(codes[j]);
        }
        uint32_t *to = tables;
        for (int j = TERNARY_COLUMNS - 1; j >= 0; j--) {
            *to = both_halves(sum) + high_half(codes[j]);
            to = write_ternary_sums(to, 1, steps, j);
            sum += 2 * codes[j];
        }
        *to = (uint32_t)sum;
    }
}

void bn_build_ternary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups) {
    for (; groups > 0; groups--, tables += BN_TABLE_SIZE) {
        uint32_t steps[TERNARY_COLUMNS], sum = 0;
        for (int j = 0; j < TERNARY_COLUMNS; j++) {
            steps[j] = pair(*first++, *second++);
            sum -= steps[j];
        }
        uint32_t *to = tables;
        for (int j = TERNARY_COLUMNS - 1; j >= 0; j--) {
            to[0] = sum;
            to[1] = sum + steps[j];
            to = write_ternary_sums(to, 2, steps, j);
            sum += 2 * steps[j];
        }
        *to = sum;
    }
}

// The entries are words if `is_pair`, which is known where this is called.
static inline void add_rows(
    const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks, int is_pair) {
    for (; blocks > 0; blocks--, out += BN_ROWS_PER_BLOCK) {
        uint32_t sums[BN_ROWS_PER_BLOCK];
#pragma GCC unroll 4
        for (int i = 0; i < BN_ROWS_PER_BLOCK; i++) {
            sums[i] = (uint32_t)(stretch->start ? stretch->start : out[i]);
        }
        const uint32_t *table = stretch->tables;
#pragma GCC unroll 4
        for (uint32_t left = stretch->groups; left > 0; left--) {
            uint32_t bytes = *weights++;
#pragma GCC unroll 4
            for (int i = 0; i < BN_ROWS_PER_BLOCK; i++) {
                uint32_t byte = (bytes >> 8 * i) & 255;
                sums[i] += is_pair ? table[byte] : ((const uint16_t *)table)[byte];
            }
            table += is_pair ? BN_TABLE_SIZE : BN_TABLE_SIZE / 2;
        }
#pragma GCC unroll 4
        for (int i = 0; i < BN_ROWS_PER_BLOCK; i++) {
            out[i] = (int32_t)sums[i];
        }
        weights += stretch->skip >> 2;
    }
}

void bn_add_rows(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks) {
    add_rows(stretch, weights, out, blocks, 0);
}

void bn_add_rows_pair(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks) {
    add_rows(stretch, weights, out, blocks, 1);
}

void bn_take_apart(const int32_t *pairs, int32_t *first, int32_t *second, uint32_t blocks) {
    for (uint32_t i = 0; i < BN_ROWS_PER_BLOCK * blocks; i++) {
        first[i] = bn_first_of(pairs[i]);
        second[i] = bn_second_of(pairs[i]);
    }
}
