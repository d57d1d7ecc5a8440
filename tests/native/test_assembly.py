"""What is in assembly, at every size that it treats in its own way, with the largest sums."""

import numpy as np
import pytest
from bitnet_cli.emulation.structs import INPUT, PRODUCT
from bitnet_cli.model.modelfile import Matrix, Scale
from bitnet_cli.model.packing import BINARY, TERNARY
from support.targets import Emulated, target

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

NAMES = ["cortex-m0plus", "xtensa"]
ROWS = 8
PAIR_TABLES = 26  # BN_PAIR_TABLES_AT_ONCE
# More groups than have tables at once, for one token or two.
MOST_GROUPS = 2 * PAIR_TABLES + 6
COLUMNS_PER_GROUP = {BINARY: 8, TERNARY: 5}


def table_bytes(groups: int) -> int:
    """What the state has for them (locate_buffers)."""
    return 1024 * min(groups + groups % 2, PAIR_TABLES)


@pytest.mark.parametrize("weight_type", [BINARY, TERNARY])
@pytest.mark.parametrize("name", NAMES)
def test_products_of_every_width(name: str, weight_type: int) -> None:
    called = target(name)
    assert isinstance(called, Emulated)
    rng = np.random.default_rng(weight_type)
    for groups in range(1, MOST_GROUPS + 1):
        called.machine.reset()
        columns = groups * COLUMNS_PER_GROUP[weight_type]
        codes = rng.choice(np.array([-127, -1, 0, 1, 127], np.int8), (2, columns))
        values = rng.choice(np.array([-1, 1], np.int8), (ROWS, columns))
        # Each sum at its largest.
        values[:4] = np.sign(np.concatenate([codes, -codes])) | 1
        if weight_type == TERNARY:
            values[4:] *= rng.integers(0, 2, values[4:].shape).astype(np.int8)
        matrix = called.allocate(Matrix(Scale(20000, -30), values).pack(weight_type))
        outs = [called.allocate(bytes(4 * ROWS)) for _ in codes]
        sums = called.allocate(bytes(4 * ROWS))
        tables = called.allocate(bytes(table_bytes(groups)))
        behind = called.allocate(b"\xa5" * 16)
        product = called.allocate(PRODUCT.pack(matrix=matrix, out_0=outs[0], out_1=outs[1], rows=ROWS))
        expected = values.astype(np.int32) @ codes.astype(np.int32).T
        for function, tokens in (("bn_bitlinear", 1), ("bn_bitlinear_pair", 2)):
            inputs = [called.allocate(code.tobytes()) for code in codes]
            shape = {"weight_type": weight_type, "columns": columns, "bits": 8}
            codes_at = {"codes_0": inputs[0], "codes_1": inputs[1]}
            shared = called.allocate(INPUT.pack(**shape, **codes_at, tables=tables, pair_sums=sums))
            called.call(function, shared, product, 1)
            for token in range(tokens):
                got = np.frombuffer(called.read(outs[token], 4 * ROWS), "<i4")
                np.testing.assert_array_equal(got, expected[:, token], f"{function}, {groups} groups")
            assert called.read(behind, 16) == b"\xa5" * 16


@pytest.mark.parametrize("name", NAMES)
def test_vectors_of_every_length_are_scaled(name: str) -> None:
    called = target(name)
    assert isinstance(called, Emulated)
    called.machine.reset()
    rng = np.random.default_rng(0)
    for length in range(1, 35):
        for down, m, post in ((0, 32767, 0), (0, 20000, 18), (5, 16384, 30), (14, 1, 0), (1, 32767, 1)):
            x = rng.integers(-(1 << 14) + 1, 1 << 14, length + 1) << down
            x[-1] = 1 << 20
            at = called.allocate(x.astype("<i4").tobytes())
            called.call("bn_scale", at, length, m, down, post)
            expected = ((x >> down) * m + (1 << post >> 1)) >> post
            expected[-1] = x[-1]
            got = np.frombuffer(called.read(at, 4 * len(x)), "<i4")
            np.testing.assert_array_equal(got, expected, f"{length} elements, {down=}, {m=}, {post=}")
