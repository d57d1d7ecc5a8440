"""The loops in assembly at the ends of what they are given, which no model reaches, against the oracle."""

import numpy as np
import numpy.typing as npt
import pytest
from bitnet_cli.emulation.structs import INPUT, NORM, PRODUCT, SCALE
from bitnet_cli.model import oracle
from bitnet_cli.model.modelfile import Matrix, Scale
from bitnet_cli.model.oracle import Bounds, Scales
from bitnet_cli.model.packing import BINARY
from support.targets import Emulated, target

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

Int64 = npt.NDArray[np.int64]


@pytest.fixture
def core() -> Emulated:
    called = target("cortex-m0plus")
    assert isinstance(called, Emulated)
    called.machine.reset()
    return called


def words(core: Emulated, values: Int64) -> int:
    return core.allocate(values.astype("<i4").tobytes())


def ints(core: Emulated, address: int, count: int) -> list[int]:
    return np.frombuffer(core.read(address, 4 * count), "<i4").tolist()


def peaked_codes(columns: int, large: int, size: int) -> npt.NDArray[np.int8]:
    """Small codes of both signs, and so many groups with a large one."""
    rng = np.random.default_rng(columns + large)
    codes = rng.integers(-9, 10, columns).astype(np.int8)
    for group in range(large):
        codes[8 * group + rng.integers(0, 8)] = size if group & 1 else -size
    return codes


@pytest.mark.parametrize("columns", [9, 17, 25, 33, 64, 176, 352, 900])
@pytest.mark.parametrize(("large", "size"), [(0, 0), (1, 127), (1, 100), (4, 127), (5, 127), (9, 127)])
def test_products_with_few_large_codes(core: Emulated, columns: int, large: int, size: int) -> None:
    """More than four codes that are too large take tables of another kind."""
    codes = peaked_codes(columns, min(large, columns // 8), size)
    check_product(core, codes)


@pytest.mark.parametrize(
    "sizes", [[16] * 8, [15] + [16] * 7, [127] * 8, [-127] * 8, [-16] * 8, [127, 0, 0, -1]]
)
def test_products_at_the_end_of_narrow_tables(core: Emulated, sizes: list[int]) -> None:
    codes = np.zeros(40, np.int8)
    codes[8 : 8 + len(sizes)] = sizes
    check_product(core, codes)


def check_product(core: Emulated, codes: npt.NDArray[np.int8]) -> None:
    rows, columns = 8, len(codes)
    values = np.random.default_rng(columns).choice([-1, 1], (rows, columns)).astype(np.int8)
    matrix = core.allocate(Matrix(Scale(20000, -30), values).pack(BINARY))
    code_bytes = core.allocate(codes.tobytes() + bytes(8))
    out, tables = core.allocate(bytes(4 * rows)), core.allocate(bytes(52 * 512))
    shared = core.allocate(
        INPUT.pack(weight_type=BINARY, columns=columns, bits=8, codes_0=code_bytes, tables=tables)
    )
    product = core.allocate(PRODUCT.pack(matrix=matrix, out_0=out, rows=rows))
    core.call("bn_bitlinear", shared, product, 1)
    assert ints(core, out, rows) == (values.astype(np.int64) @ codes).tolist()


@pytest.mark.parametrize("n", [8, 9, 11, 64, 176])
@pytest.mark.parametrize(
    "kind", ["zero", "ones", "small", "minus-one", "plain", "large", "lowest", "one", "all-but-full"]
)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_norms(core: Emulated, n: int, kind: str, bits: int) -> None:
    rng = np.random.default_rng(n)
    x = {
        "zero": np.zeros(n),
        "ones": np.ones(n),
        "small": rng.integers(-9, 10, n),
        "minus-one": np.full(n, -1),
        "plain": rng.normal(0, 1 << 16, n),
        "large": rng.integers(-(1 << 31), 1 << 31, n),
        "lowest": np.full(n, -(1 << 31)),
        "one": np.eye(1, n, n - 1)[0] * (1 << 20),
        "all-but-full": np.full(n, (1 << 20) - 1),
    }[kind].astype(np.int64)
    gamma = np.full(n, 32767) if kind == "all-but-full" else rng.integers(-32768, 32768, n)
    address, codes, work, scale = (
        words(core, x),
        core.allocate(bytes(n)),
        core.allocate(bytes(4 * n)),
        words(core, x[:2]),
    )
    gammas = core.allocate(gamma.astype("<i2").tobytes())
    magnitudes = core.call("bn_magnitudes", address, n)
    core.call(
        "bn_norm_quant",
        scale,
        core.allocate(NORM.pack(gamma=gammas, size=n, bits=bits)),
        address,
        magnitudes,
        work,
        codes,
    )
    q, r = oracle.norm_quant(x, gamma, bits, Bounds(enabled=False))
    assert np.frombuffer(core.read(codes, n), np.int8).tolist() == q.tolist()
    assert ints(core, scale, 2) == [int(r.m), int(r.e)]


@pytest.mark.parametrize("e", [-200, -60, -47, -46, -45, -20, -17, -16, -15, 0, 64])
@pytest.mark.parametrize(("columns", "n"), [(64, 6), (300, 9), (4096, 4)])
def test_sums_are_clamped(core: Emulated, e: int, columns: int, n: int) -> None:
    limit = 127 * columns
    y = np.resize([limit, -limit, 1, -1, 0, limit - 1], n).astype(np.int64)
    for start in (0, (1 << 29) - 1, -(1 << 29)):
        x, scale = words(core, np.full(n, start)), core.allocate(SCALE.pack(m=32767, e=e))
        magnitudes = core.call("bn_add_requant", x, words(core, y), n, limit, scale)
        out = oracle.requant(y, Scales(np.array(32767), np.array(e)), 16, columns, Bounds(enabled=True))
        expected = oracle.add(np.full(n, start), out)
        assert ints(core, x, n) == expected.tolist()
        assert magnitudes.bit_length() == int(oracle.mag(expected)[0]).bit_length()


def test_reciprocals(core: Emulated) -> None:
    for u in [*range(1 << 15, 1 << 16, 97), (1 << 16) - 1]:
        assert core.call("bn_recip", u) == min((1 << 30) // u, 32767)
