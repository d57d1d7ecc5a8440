// Products by the narrow tables of lookup.h. Activations of 4 bits and fewer always fit them. Those of 8 bits
// are mostly small, and after ReLU² many are 0, so that almost all groups fit. In the few that do not, one or
// two large codes are cut, that is, made smaller, and what was cut off is multiplied on its own. The sums are
// exact either way.
#include "lookup.h"

#if BN_NARROW

enum { MOST_CUTS = 4 };

// What was cut off the code of a column.
typedef struct {
    uint32_t column;
    int32_t rest;
} cut_t;

// |code|
static int32_t size_of(int32_t code) {
    return code < 0 ? -code : code;
}

// Cuts the largest codes of a group until it fits a narrow table. Returns the number of cuts, this group's
// included; more than MOST_CUTS if it does not fit after that many.
static int cut_group(int8_t *codes, uint32_t group, cut_t *cuts, int count) {
    codes += BN_BINARY_COLUMNS * group;
    int32_t sum = 0;
    for (int j = 0; j < BN_BINARY_COLUMNS; j++) {
        sum += size_of(codes[j]);
    }
    while (sum > BN_NARROW_SUM && count < MOST_CUTS) {
        uint32_t largest = 0;
        for (uint32_t j = 1; j < BN_BINARY_COLUMNS; j++) {
            largest = size_of(codes[j]) > size_of(codes[largest]) ? j : largest;
        }
        int32_t size = size_of(codes[largest]), by = BN_MIN(size, sum - BN_NARROW_SUM);
        cuts[count].column = BN_BINARY_COLUMNS * group + largest;
        cuts[count].rest = codes[largest] < 0 ? -by : by;
        codes[largest] = (int8_t)(codes[largest] - cuts[count].rest);
        sum -= by;
        count++;
    }
    return sum > BN_NARROW_SUM ? MOST_CUTS + 1 : count;
}

// Cuts the codes of all groups; returns the number of cuts. If it is more than MOST_CUTS, all codes are as
// they were.
static int cut_codes(int8_t *codes, uint32_t groups, cut_t cuts[MOST_CUTS]) {
    int count = 0;
    for (uint32_t group = 0; count <= MOST_CUTS; group++) {
        group += bn_first_wide(codes + BN_BINARY_COLUMNS * group, groups - group);
        if (group == groups) {
            return count;
        }
        count = cut_group(codes, group, cuts, count);
    }
    for (int i = 0; i < MOST_CUTS; i++) {
        codes[cuts[i].column] = (int8_t)(codes[cuts[i].column] + cuts[i].rest);
    }
    return count;
}

static void add_groups(const bn_input_t *input, const bn_product_t *products, int count, uint32_t groups) {
    bn_stretch_t stretch;
    stretch.tables = input->tables;
    stretch.start = -(int32_t)(BN_NARROW_BIAS * groups);
    for (uint32_t group = 0; group < groups; group += stretch.groups) {
        bn_set_stretch(&stretch, group, groups, BN_NARROW_AT_ONCE, groups);
        bn_build_narrow(input->tables, input->codes[0] + BN_BINARY_COLUMNS * group, stretch.groups);
        for (int i = 0; i < count; i++) {
            const bn_product_t *product = &products[i];
            const uint32_t *weights = bn_weights_at(product, group);
            bn_add_rows_narrow(&stretch, weights, product->out[0], bn_blocks_of(product));
        }
        stretch.start = BN_FROM_OUT;
    }
}

// Usually `down`, which follows ReLU², is the only matrix with more columns than rows. For others, trying is
// wasted time.
static int may_be_after_relu(const bn_input_t *input, const bn_product_t *products, int count) {
    return count == 1 && products->rows < input->columns;
}

int bn_bitlinear_narrow(const bn_input_t *input, const bn_product_t *products, int count, uint32_t groups) {
    int8_t *codes = input->codes[0];
    cut_t cuts[MOST_CUTS];
    int cut = 0;
    if (input->bits > BN_NARROW_BITS) {
        cut = may_be_after_relu(input, products, count) ? cut_codes(codes, groups, cuts) : MOST_CUTS + 1;
    }
    if (cut > MOST_CUTS) {
        return 0;
    }
    add_groups(input, products, count, groups);
    for (int i = 0; i < cut; i++) {
        uint32_t column = cuts[i].column;
        const uint32_t *weights = bn_weights_at(products, column / BN_BINARY_COLUMNS);
        bn_add_column(weights, products->out[0], bn_blocks_of(products), groups, column % BN_BINARY_COLUMNS,
            cuts[i].rest);
    }
    return 1;
}

#endif
