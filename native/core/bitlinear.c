// BITLINEAR: the products of all matrices that share an input. The columns are taken a stretch at a time, so
// that the tables of lookup.h stay small, and are built once for all matrices.
#include "lookup.h"

static uint32_t columns_per_group(uint32_t weight_type) {
    return weight_type == BN_BINARY ? BN_BINARY_COLUMNS : BN_TERNARY_COLUMNS;
}

// Fills up the last group with zeros; returns the number of groups.
static uint32_t pad(const bn_input_t *input, int8_t *codes) {
    uint32_t groups = bn_groups(input->weight_type, input->columns);
    for (uint32_t i = input->columns; i < groups * columns_per_group(input->weight_type); i++) {
        codes[i] = 0;
    }
    return groups;
}

// Builds the tables of `count` groups, from `group` on.
static void build(const bn_input_t *input, uint32_t group, uint32_t count) {
    const int8_t *codes = input->codes[0] + group * columns_per_group(input->weight_type);
    if (input->weight_type == BN_BINARY) {
        bn_build_binary(input->tables, codes, count);
    } else {
        bn_build_ternary(input->tables, codes, count);
    }
}

// The end of the run of blocks with wanted rows that begins at `block`; `block` itself if it has none.
static uint32_t end_of_wanted(const bn_product_t *product, uint32_t block, uint32_t blocks) {
    // A byte has the bits of two blocks, and often all are set.
    while (!(block & 1) && block + 1 < blocks && product->wanted[block >> 1] == 0xFF) {
        block += 2;
    }
    while (block < blocks && (product->wanted[block >> 1] >> (block & 1) * 4 & 15)) {
        block++;
    }
    return block;
}

static void add_rows(
    const bn_product_t *product, const bn_stretch_t *stretch, uint32_t group, uint32_t groups) {
    uint32_t blocks = bn_blocks_of(product);
    const uint32_t *weights = bn_weights_at(product, group);
    if (product->wanted == NULL) {
        bn_add_rows(stretch, weights, product->out[0], blocks);
        return;
    }
    for (uint32_t first = 0; first < blocks; first++) {
        uint32_t end = end_of_wanted(product, first, blocks);
        if (end > first) {
            int32_t *out = product->out[0] + first * BN_ROWS_PER_BLOCK;
            bn_add_rows(stretch, weights + first * groups, out, end - first);
            first = end;
        }
    }
}

void bn_bitlinear(const bn_input_t *input, const bn_product_t *products, int count) {
    uint32_t groups = pad(input, input->codes[0]);
    if (BN_NARROW && input->weight_type == BN_BINARY && products->wanted == NULL &&
        bn_bitlinear_narrow(input, products, count, groups)) {
        return;
    }
    bn_stretch_t stretch;
    stretch.tables = input->tables;
    stretch.start = -(int32_t)(BN_TABLE_BIAS * groups);
    for (uint32_t group = 0; group < groups; group += stretch.groups) {
        bn_set_stretch(&stretch, group, groups, BN_TABLES_AT_ONCE, groups);
        build(input, group, stretch.groups);
        for (int i = 0; i < count; i++) {
            add_rows(&products[i], &stretch, group, groups);
        }
        stretch.start = BN_FROM_OUT;
    }
}

// --- two tokens at once ---

static void build_pair(const bn_input_t *input, uint32_t group, uint32_t count) {
    uint32_t column = group * columns_per_group(input->weight_type);
    const int8_t *first = input->codes[0] + column, *second = input->codes[1] + column;
    if (input->weight_type == BN_BINARY) {
        bn_build_binary_pair(input->tables, first, second, count);
    } else {
        bn_build_ternary_pair(input->tables, first, second, count);
    }
}

// pair_sums = the sums over the groups from `group` to `end`, for one product after the other. A word holds
// the sums of both tokens.
static void sum_pairs(const bn_input_t *input, uint32_t group, uint32_t end, uint32_t groups,
    const bn_product_t *products, int count) {
    bn_stretch_t stretch;
    stretch.tables = input->tables;
    stretch.start = 0;
    for (; group < end; group += stretch.groups) {
        bn_set_stretch(&stretch, group, end, BN_PAIR_TABLES_AT_ONCE, groups);
        build_pair(input, group, stretch.groups);
        int32_t *sums = input->pair_sums;
        for (int i = 0; i < count; i++) {
            uint32_t blocks = bn_blocks_of(&products[i]);
            bn_add_rows_pair(&stretch, bn_weights_at(&products[i], group), sums, blocks);
            sums += blocks * BN_ROWS_PER_BLOCK;
        }
        stretch.start = BN_FROM_OUT;
    }
}

static void add_apart(const int32_t *pairs, int32_t *first, int32_t *second, uint32_t rows) {
    for (uint32_t i = 0; i < rows; i++) {
        first[i] += bn_first_of(pairs[i]);
        second[i] += bn_second_of(pairs[i]);
    }
}

// A word can hold both sums over at most BN_PAIR_GROUPS groups, so a wide matrix takes several rounds.
void bn_bitlinear_pair(const bn_input_t *input, const bn_product_t *products, int count) {
    uint32_t groups = pad(input, input->codes[0]);
    pad(input, input->codes[1]);
    for (uint32_t group = 0, end; group < groups; group = end) {
        end = groups - group < BN_PAIR_GROUPS ? groups : group + BN_PAIR_GROUPS;
        sum_pairs(input, group, end, groups, products, count);
        const int32_t *sums = input->pair_sums;
        for (int i = 0; i < count; i++) {
            const bn_product_t *product = &products[i];
            uint32_t blocks = bn_blocks_of(product);
            if (group == 0) {
                bn_take_apart(sums, product->out[0], product->out[1], blocks);
            } else {
                add_apart(sums, product->out[0], product->out[1], blocks * BN_ROWS_PER_BLOCK);
            }
            sums += blocks * BN_ROWS_PER_BLOCK;
        }
    }
}
