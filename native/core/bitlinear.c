// BITLINEAR by table lookup. A weight byte stands for a group of columns (8 binary or 5 ternary weights); for
// the current input, the table of a group holds the sum that each value of the byte selects. Building a table
// costs one addition per entry, and every row of every matrix that reads this input then needs one lookup per
// group.
#include "core.h"

// table[b] = Σ ±code_j, bit j of b set: +. The sums with bit j set are those without, plus 2·code_j.
static void build_binary_table(int16_t *table, const int8_t *codes, uint32_t n) {
    int32_t sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        sum -= codes[j];
    }
    table[0] = (int16_t)sum;
    for (uint32_t j = 0; j < 8; j++) {
        int32_t step = j < n ? 2 * codes[j] : 0;
        int16_t *end = table + ((uint32_t)1 << j);
        for (int16_t *from = table, *to = end; from < end;) {
            *to++ = (int16_t)(*from++ + step);
        }
    }
}

// plain[Σ digit_j·3^j] = Σ (digit_j − 1)·code_j over four columns, in the order of rising numbers.
static void sum_four_columns(int16_t *plain, const int32_t *codes) {
    plain[0] = (int16_t)(-codes[0] - codes[1] - codes[2] - codes[3]);
    for (uint32_t j = 0, size = 1; j < 4; j++, size *= 3) {
        // Digit 2 is digit 1 plus the code again, so one run over both copies.
        int16_t *end = plain + 2 * size;
        for (int16_t *from = plain, *to = plain + size; from < end;) {
            *to++ = (int16_t)(*from++ + codes[j]);
        }
    }
}

// table[f_5(digits)] = Σ (digit_j − 1)·code_j; SPEC.md 1.2 defines f_5. Bytes above 242 are in no sound file
// and select what was there before.
static void build_ternary_table(int16_t *table, const int8_t *codes, uint32_t n) {
    int32_t code[5];
    for (uint32_t j = 0; j < 5; j++) {
        code[j] = j < n ? codes[j] : 0;
    }
    int16_t plain[81];
    sum_four_columns(plain, code);
    // Pairs that differ in digit j, all digits after it 2: as in plain, whose digits from j on are 0, and
    // more.
    int32_t more = -code[4];
    for (uint32_t j = 5, pairs = 81; j-- > 0; pairs = (pairs * 43) >> 7) { // ⌊pairs / 3⌋
        for (uint32_t i = 0; i < pairs; i++) {
            *table++ = (int16_t)(plain[i] + more);
            *table++ = (int16_t)(plain[i] + more + code[j]);
        }
        more += 2 * code[j];
    }
    *table = (int16_t)(plain[0] + more);
}

static void build_tables(
    uint32_t weight_type, int16_t *tables, uint32_t count, const int8_t *codes, uint32_t n) {
    uint32_t step = weight_type == BN_BINARY ? 8 : 5;
    for (; count > 0; count--, tables += BN_TABLE_SIZE, codes += step) {
        uint32_t here = n < step ? n : step;
        if (weight_type == BN_BINARY) {
            build_binary_table(tables, codes, here);
        } else {
            build_ternary_table(tables, codes, here);
        }
        n -= here;
    }
}

// Adds the sums of one block of rows over `count` groups to out[4].
static void add_block(const uint32_t *weights, const int16_t *tables, uint32_t count, int32_t *out) {
    int32_t sum0 = out[0], sum1 = out[1], sum2 = out[2], sum3 = out[3];
    for (; count > 0; count--, tables += BN_TABLE_SIZE) {
        uint32_t bytes = *weights++;
        sum0 += tables[bytes & 255];
        sum1 += tables[(bytes >> 8) & 255];
        sum2 += tables[(bytes >> 16) & 255];
        sum3 += tables[bytes >> 24];
    }
    out[0] = sum0;
    out[1] = sum1;
    out[2] = sum2;
    out[3] = sum3;
}

// Adds the sums over `count` groups from `group` on; a block of rows has `groups` in all.
static void add_groups(
    const bn_product_t *product, uint32_t groups, uint32_t group, uint32_t count, const int16_t *tables) {
    const uint32_t *weights = (const uint32_t *)(product->matrix + 4) + group;
    for (uint32_t row = 0; row < product->rows; row += BN_ROWS_PER_BLOCK, weights += groups) {
        if (product->wanted == NULL || (product->wanted[row >> 3] >> (row & 4)) & 15) {
            add_block(weights, tables, count, product->out + row);
        }
    }
}

// All products of one input, a stretch of its columns at a time, so that the tables are built once and stay
// small.
void bn_bitlinear(uint32_t weight_type, const int8_t *codes, uint32_t columns, int16_t *tables,
    const bn_product_t *products, int count) {
    for (int i = 0; i < count; i++) {
        bn_clear(products[i].out, bn_align(products[i].rows, BN_ROWS_PER_BLOCK));
    }
    uint32_t groups = bn_groups(weight_type, columns);
    uint32_t step = weight_type == BN_BINARY ? 8 : 5;
    for (uint32_t group = 0; group < groups; group += BN_TABLES_AT_ONCE) {
        uint32_t here = groups - group < BN_TABLES_AT_ONCE ? groups - group : BN_TABLES_AT_ONCE;
        build_tables(weight_type, tables, here, codes + group * step, columns - group * step);
        for (int i = 0; i < count; i++) {
            add_groups(&products[i], groups, group, here, tables);
        }
    }
}
