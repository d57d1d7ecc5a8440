// The loops of lookup.h, for every processor. Two entries of 16 bits are computed in one word and stored
// together.
#include "lookup.h"

// Entries are written as words of two and read one by one.
typedef uint16_t __attribute__((may_alias)) halves_t;

// c in both halves of a word. Sums in the low half must not be negative, or they would borrow from the high
// half.
static uint32_t both_halves(int32_t c) {
    return (uint32_t)c * 0x10001;
}

static uint32_t high_half(int32_t c) {
    return (uint32_t)c << 16;
}

// Stores four words, and adds what the next four have more.
static inline void store_and_add(uint32_t *to, uint32_t w[4], uint32_t step) {
    to[0] = w[0];
    to[1] = w[1];
    to[2] = w[2];
    to[3] = w[3];
    w[0] += step;
    w[1] += step;
    w[2] += step;
    w[3] += step;
}

// to[b] = first + the sum of steps[j] over all bits j that are set in b, for b < 128.
//
// w holds four words, for the values 0 to 3 of bits 0 and 1. From one four to the next, one bit of b becomes
// 1 and all bits between it and bit 1 become 0, so all four words increase by the same: the step of that bit
// less those of the others. From b = 0011100…0011111 to b = 0100000…0100011, bit 5 becomes 1 and bits 2, 3
// and 4 become 0, so they increase by s5 = steps[5] − steps[4] − steps[3] − steps[2].
static inline __attribute__((always_inline)) void write_binary_sums(
    uint32_t *to, uint32_t first, const uint32_t steps[7]) {
    uint32_t w[4] = {first, first + steps[0], first + steps[1], first + steps[0] + steps[1]};
    uint32_t sum = steps[2], s2 = sum, s3 = steps[3] - sum;
    sum += steps[3];
    uint32_t s4 = steps[4] - sum;
    sum += steps[4];
    uint32_t s5 = steps[5] - sum;
    sum += steps[5];
    uint32_t s6 = steps[6] - sum;
    for (uint32_t *end = to + 128; to < end; to += 32) {
        store_and_add(to, w, s2);
        store_and_add(to + 4, w, s3);
        store_and_add(to + 8, w, s2);
        store_and_add(to + 12, w, s4);
        store_and_add(to + 16, w, s2);
        store_and_add(to + 20, w, s3);
        store_and_add(to + 24, w, s2);
        // After 32 words it is s5, after 64 s6, after 96 s5 again. What is added after 128 is not used.
        store_and_add(to + 28, w, s5);
        uint32_t other = s5;
        s5 = s6;
        s6 = other;
    }
}

void bn_build_binary(uint32_t *tables, const int8_t *codes, uint32_t groups) {
    for (; groups > 0; groups--, codes += BN_BINARY_COLUMNS, tables += BN_TABLE_SIZE / 2) {
        int32_t sum = codes[0] + codes[1] + codes[2] + codes[3] + codes[4] + codes[5] + codes[6] + codes[7];
        const uint32_t steps[7] = {both_halves(2 * codes[1]), both_halves(2 * codes[2]),
            both_halves(2 * codes[3]), both_halves(2 * codes[4]), both_halves(2 * codes[5]),
            both_halves(2 * codes[6]), both_halves(2 * codes[7])};
        uint32_t none = both_halves(BN_TABLE_BIAS - sum);
        write_binary_sums(tables, none + high_half(2 * codes[0]), steps);
    }
}

static uint32_t pair(int32_t first, int32_t second) {
    return (uint32_t)first + high_half(second);
}

void bn_build_binary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups) {
    for (; groups > 0; groups--, first += BN_BINARY_COLUMNS, second += BN_BINARY_COLUMNS) {
        const uint32_t steps[BN_BINARY_COLUMNS] = {pair(2 * first[0], 2 * second[0]),
            pair(2 * first[1], 2 * second[1]), pair(2 * first[2], 2 * second[2]),
            pair(2 * first[3], 2 * second[3]), pair(2 * first[4], 2 * second[4]),
            pair(2 * first[5], 2 * second[5]), pair(2 * first[6], 2 * second[6]),
            pair(2 * first[7], 2 * second[7])};
        uint32_t all = steps[0] + steps[1] + steps[2] + steps[3] + steps[4] + steps[5] + steps[6] + steps[7];
        // −Σ codes, for b = 0. The halves of the word can be halved together because both are even.
        uint32_t word = (uint32_t) - ((int32_t)all >> 1);
        for (uint32_t *end = tables + BN_TABLE_SIZE; tables < end; tables += BN_TABLE_SIZE / 2) {
            write_binary_sums(tables, word, steps);
            word += steps[7];
        }
    }
}

// Stores three words, for the values 0, 1 and 2 of the lowest digit, and adds what the next three have more.
static inline uint32_t *store_three(uint32_t *to, uint32_t w[3], uint32_t step) {
    to[0] = w[0];
    to[1] = w[1];
    to[2] = w[2];
    w[0] += step;
    w[1] += step;
    w[2] += step;
    return to + 3;
}

// to[k] = first + the sum of steps[j] times digit j of k in base 3, for k < 3^digits, 1 <= digits <= 4;
// returns the end.
static uint32_t *write_ternary_sums(uint32_t *to, uint32_t first, const uint32_t *steps, int digits) {
    uint32_t w[3] = {first, first + steps[0], first + 2 * steps[0]};
    if (digits == 1) {
        return store_three(to, w, 0);
    }
    // When a digit increases by 1, the one below has been increased three times, which is taken off again.
    uint32_t s1 = steps[1], s2 = digits > 2 ? steps[2] - 3 * s1 : 0;
    uint32_t s3 = digits > 3 ? steps[3] - 3 * steps[2] : 0;
    int twos = digits > 2 ? 3 : 1, threes = digits > 3 ? 3 : 1;
    for (int i = 0; i < threes; i++) {
        for (int j = 0; j < twos; j++) {
            to = store_three(to, w, s1);
            to = store_three(to, w, s1);
            to = store_three(to, w, s1 + s2);
        }
        w[0] += s3;
        w[1] += s3;
        w[2] += s3;
    }
    return to;
}

// Writes the entries in the order of SPEC.md 1.2: first those whose highest digit is 0 or 1, two to a word.
// Among the others, whose highest digit is 2, the next digit decides in the same way.
void bn_build_ternary(uint32_t *tables, const int8_t *codes, uint32_t groups) {
    for (; groups > 0; groups--, codes += BN_TERNARY_COLUMNS, tables += BN_TABLE_SIZE / 2) {
        uint32_t steps[BN_TERNARY_COLUMNS];
        int32_t sum = BN_TABLE_BIAS;
        for (int j = 0; j < BN_TERNARY_COLUMNS; j++) {
            sum -= codes[j];
            steps[j] = both_halves(codes[j]);
        }
        uint32_t *to = tables;
        for (int j = BN_TERNARY_COLUMNS - 1; j > 0; j--) {
            to = write_ternary_sums(to, both_halves(sum) + high_half(codes[j]), steps, j);
            sum += 2 * codes[j];
        }
        to[0] = both_halves(sum) + high_half(codes[0]);
        to[1] = (uint32_t)(sum + 2 * codes[0]);
    }
}

// Extends `size` words by `digits` more digits: appends copies for all their values other than 0, where the
// lowest digit changes fastest; returns the end.
static uint32_t *repeat_ternary_sums(uint32_t *to, uint32_t size, const uint32_t *steps, int digits) {
    for (int j = 0; j < digits; j++, size *= 3) {
        // A word with digit 2 is the one with digit 1 plus the same step, so one loop writes both copies.
        uint32_t *end = to + 2 * size;
        for (uint32_t *from = to, *next = to + size; from < end;) {
            *next++ = *from++ + steps[j];
        }
    }
    return to + size;
}

void bn_build_ternary_pair(uint32_t *tables, const int8_t *first, const int8_t *second, uint32_t groups) {
    for (; groups > 0; groups--, tables += BN_TABLE_SIZE) {
        uint32_t steps[BN_TERNARY_COLUMNS], sum = 0;
        for (int j = 0; j < BN_TERNARY_COLUMNS; j++) {
            steps[j] = pair(*first++, *second++);
            sum -= steps[j];
        }
        uint32_t *to = tables;
        for (int j = BN_TERNARY_COLUMNS - 1; j >= 0; j--) {
            to[0] = sum;
            to[1] = sum + steps[j];
            to = repeat_ternary_sums(to, 2, steps, j);
            sum += 2 * steps[j];
        }
        *to = sum;
    }
}

static inline uint32_t entry(const uint32_t *table, uint32_t byte, int is_pair) {
    return is_pair ? table[byte] : ((const halves_t *)table)[byte];
}

// Adds the entries that one weight word selects: four rows of one group.
static inline void add_group(
    uint32_t sums[BN_ROWS_PER_BLOCK], const uint32_t *table, uint32_t bytes, int is_pair) {
    sums[0] += entry(table, bytes & 255, is_pair);
    sums[1] += entry(table, (bytes >> 8) & 255, is_pair);
    sums[2] += entry(table, (bytes >> 16) & 255, is_pair);
    sums[3] += entry(table, bytes >> 24, is_pair);
}

// Inlined with a constant is_pair.
static inline void add_rows(
    const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks, int is_pair) {
    const uint32_t table_size = is_pair ? BN_TABLE_SIZE : BN_TABLE_SIZE / 2;
    const int32_t start = stretch->start;
    const uint32_t *tables = stretch->tables;
    const uint32_t *fours_end = tables + (stretch->groups & ~3u) * table_size;
    const uint32_t *end = tables + stretch->groups * table_size;
    const uint32_t skip = stretch->skip >> 2;
    for (; blocks > 0; blocks--, out += BN_ROWS_PER_BLOCK, weights += skip) {
        uint32_t sums[BN_ROWS_PER_BLOCK] = {
            (uint32_t)start, (uint32_t)start, (uint32_t)start, (uint32_t)start};
        if (start == BN_FROM_OUT) {
            sums[0] = (uint32_t)out[0];
            sums[1] = (uint32_t)out[1];
            sums[2] = (uint32_t)out[2];
            sums[3] = (uint32_t)out[3];
        }
        const uint32_t *table = tables;
        for (; table < fours_end; table += 4 * table_size, weights += 4) {
            add_group(sums, table, weights[0], is_pair);
            add_group(sums, table + table_size, weights[1], is_pair);
            add_group(sums, table + 2 * table_size, weights[2], is_pair);
            add_group(sums, table + 3 * table_size, weights[3], is_pair);
        }
        for (; table < end; table += table_size) {
            add_group(sums, table, *weights++, is_pair);
        }
        out[0] = (int32_t)sums[0];
        out[1] = (int32_t)sums[1];
        out[2] = (int32_t)sums[2];
        out[3] = (int32_t)sums[3];
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

#if BN_NARROW

// For each further bit, appends a copy of what is there, plus the step of that bit.
void bn_build_narrow(uint32_t *tables, const int8_t *codes, uint32_t groups) {
    const uint32_t all = 0x01010101, bit0 = 0x01000100, bit1 = 0x01010000;
    for (; groups > 0; groups--, codes += BN_BINARY_COLUMNS) {
        uint32_t sum = 0;
        for (int j = 0; j < BN_BINARY_COLUMNS; j++) {
            sum += (uint32_t)codes[j];
        }
        *tables =
            (BN_NARROW_BIAS - sum) * all + 2 * (uint32_t)codes[0] * bit0 + 2 * (uint32_t)codes[1] * bit1;
        for (int j = 2; j < BN_BINARY_COLUMNS; j++) {
            const uint32_t step = 2 * (uint32_t)codes[j] * all;
            for (uint32_t *end = tables + (1 << (j - 2)), *to = end, *from = tables; from < end;) {
                *to++ = *from++ + step;
            }
        }
        tables += BN_TABLE_SIZE / 4;
    }
}

uint32_t bn_first_wide(const int8_t *codes, uint32_t groups) {
    for (uint32_t group = 0; group < groups; group++, codes += BN_BINARY_COLUMNS) {
        int32_t sum = 0;
        for (int j = 0; j < BN_BINARY_COLUMNS; j++) {
            sum += codes[j] < 0 ? -codes[j] : codes[j];
        }
        if (sum > BN_NARROW_SUM) {
            return group;
        }
    }
    return groups;
}

void bn_add_rows_narrow(const bn_stretch_t *stretch, const uint32_t *weights, int32_t *out, uint32_t blocks) {
    for (; blocks > 0; blocks--, weights += stretch->skip >> 2) {
        const uint8_t *table = (const uint8_t *)stretch->tables;
        for (int i = 0; i < BN_ROWS_PER_BLOCK && stretch->start != BN_FROM_OUT; i++) {
            out[i] = stretch->start;
        }
        for (uint32_t group = stretch->groups; group > 0; group--, weights++, table += BN_TABLE_SIZE) {
            for (int i = 0; i < BN_ROWS_PER_BLOCK; i++) {
                out[i] += table[(*weights >> 8 * i) & 255];
            }
        }
        out += BN_ROWS_PER_BLOCK;
    }
}

void bn_add_column(
    const uint32_t *weights, int32_t *out, uint32_t blocks, uint32_t groups, uint32_t column, int32_t code) {
    for (; blocks > 0; blocks--, weights += groups) {
        uint32_t word = *weights >> column;
        for (int i = 0; i < BN_ROWS_PER_BLOCK; i++, word >>= 8) {
            *out++ += word & 1 ? code : -code;
        }
    }
}

#endif
