"""Every target returns the oracle's logits, bit for bit, at every position."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from bitnet_cli.model.modelfile import ModelConfig
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.model.packing import BINARY, TERNARY
from bitnet_cli.model.random_model import random_model
from bitnet_cli.paths import STOCK_MODEL
from support import toy
from support.targets import TARGETS, Emulated, HostLibrary, Logits, target
from unicorn import UcError

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

TOKENS = 11
# Those of which any function can be called.
CALLED = ["x86-64", "cortex-m0plus", "cortex-m7", "rv32imc", "xtensa"]
COPIED, STREAMED = 1, 2  # bn_placement_t
ERR_STATE = -8
NO_DMA = 0xFFFFFFFF  # int −1
EMPTY = -11  # BN_ERR_EMPTY

# Sizes that divide nothing evenly, grouped and single kv heads, windows that wrap, matrices wider than the
# tables that are built at once (52 groups), and each choice of activations, embedding and head.
SHAPES = {
    "plain": ModelConfig(
        vocab_size=48,
        hidden_size=24,
        intermediate_size=40,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        head_dim=6,
        window=16,
        embedding_bits=8,
    ),
    "grouped-heads": ModelConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_layers=2,
        num_heads=8,
        num_kv_heads=2,
        head_dim=4,
        window=16,
        embedding_bits=4,
    ),
    "one-kv-head": ModelConfig(
        vocab_size=37,
        hidden_size=25,
        intermediate_size=33,
        num_layers=1,
        num_heads=3,
        num_kv_heads=1,
        head_dim=10,
        window=5,
        embedding_bits=8,
    ),
    "wraps": ModelConfig(
        vocab_size=33,
        hidden_size=16,
        intermediate_size=24,
        num_layers=3,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        window=4,
        embedding_bits=8,
    ),
    "window-1": ModelConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=4,
        window=1,
        embedding_bits=4,
    ),
    "wide": ModelConfig(
        vocab_size=20,
        hidden_size=170,
        intermediate_size=430,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=16,
        window=8,
        embedding_bits=8,
    ),
    "activations-4": ModelConfig(
        vocab_size=48,
        hidden_size=24,
        intermediate_size=40,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        window=6,
        activation_bits=4,
        embedding_bits=8,
    ),
    "activations-2": ModelConfig(
        vocab_size=48,
        hidden_size=24,
        intermediate_size=40,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        window=6,
        activation_bits=2,
        embedding_bits=4,
    ),
    "binary-head": ModelConfig(
        vocab_size=45,
        hidden_size=24,
        intermediate_size=40,
        num_layers=1,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        window=6,
        embedding_bits=8,
        head_type=BINARY,
    ),
    "ternary-head": ModelConfig(
        vocab_size=45,
        hidden_size=23,
        intermediate_size=41,
        num_layers=1,
        num_heads=4,
        num_kv_heads=2,
        head_dim=6,
        window=6,
        embedding_bits=4,
        head_type=TERNARY,
    ),
    "narrow-tables": ModelConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=850,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        window=4,
        embedding_bits=8,
    ),
    "long-window": ModelConfig(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=24,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=40,
        window=100,
        embedding_bits=8,
    ),
    "broad": ModelConfig(
        vocab_size=24,
        hidden_size=264,
        intermediate_size=300,
        num_layers=1,
        num_heads=4,
        num_kv_heads=2,
        head_dim=40,
        window=8,
        embedding_bits=8,
    ),
    "smallest": ModelConfig(
        vocab_size=1,
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=4,
        window=2,
        embedding_bits=8,
    ),
}
WEIGHTS = {"binary": BINARY, "ternary": TERNARY}


@functools.cache
def model(shape: str, weights: str) -> bytes:
    config = replace(SHAPES[shape], weight_type=WEIGHTS[weights])
    return random_model(config, list(SHAPES).index(shape))


@functools.cache
def tokens(shape: str) -> tuple[int, ...]:
    return tuple(map(int, np.random.default_rng(7).integers(0, SHAPES[shape].vocab_size, TOKENS)))


@functools.cache
def expected(shape: str, weights: str, window: int = 0) -> Logits:
    oracle = Oracle(model(shape, weights), window=window)
    logits = []
    for token in tokens(shape):
        oracle.feed([token])
        logits.append(oracle.logits())
    return logits


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TARGETS)
def test_logits(name: str, shape: str, weights: str, record_property: Callable[..., None]) -> None:
    record_property("bit_exact", (f"{shape}, {weights}", name))
    logits = target(name).logits(model(shape, weights), list(tokens(shape)))
    np.testing.assert_array_equal(logits, expected(shape, weights))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CALLED)
def test_tokens_in_pairs(name: str, shape: str, weights: str) -> None:
    """Fed in one call, tokens go two by two; an odd one goes alone."""
    called = target(name)
    assert isinstance(called, HostLibrary | Emulated)
    ids = list(tokens(shape))
    for count in (2, TOKENS):
        state, at = called.open(model(shape, weights))
        called.feed(state, at, ids[:count])
        assert called.check("bn_position", state, at) == count
        out = called.allocate(bytes(4 * SHAPES[shape].vocab_size))
        called.check("bn_logits", state, at, out)
        logits = np.frombuffer(called.read(out, 4 * SHAPES[shape].vocab_size), "<i4")
        np.testing.assert_array_equal(logits, expected(shape, weights)[count - 1])


@pytest.mark.parametrize("name", CALLED)
def test_more_positions_than_one_sum_holds(name: str) -> None:
    called = target(name)
    assert isinstance(called, HostLibrary | Emulated)
    data = model("long-window", "binary")
    ids = list(map(int, np.random.default_rng(8).integers(0, 40, 110)))
    state, at = called.open(data)
    oracle = Oracle(data, check_bounds=True)
    out = called.allocate(bytes(4 * 40))
    for first, end in itertools.pairwise((0, 32, 33, 70, 110)):
        called.feed(state, at, ids[first:end])
        oracle.feed(ids[first:end])
        called.check("bn_logits", state, at, out)
        np.testing.assert_array_equal(np.frombuffer(called.read(out, 4 * 40), "<i4"), oracle.logits())


@pytest.mark.parametrize("placement", [COPIED, STREAMED])
@pytest.mark.parametrize("shape", ["plain", "wraps", "ternary-head"])
@pytest.mark.parametrize("name", CALLED)
def test_placements(name: str, shape: str, placement: int) -> None:
    """Weights copied, or streamed through a buffer for one layer, over several calls."""
    called = target(name)
    assert isinstance(called, HostLibrary | Emulated)
    ids, size = list(tokens(shape)), len(model(shape, "ternary"))
    state, at = called.open(model(shape, "ternary"))
    state_size = called.check("bn_state_size", at, size, 0)
    placed_size = state_size + called.check("bn_placement_size", at, size, placement)
    state = called.allocate(b"\xa5" * placed_size)
    called.check("bn_init", state, placed_size, at, size, 0)
    assert called.call("bn_place", state, placed_size - 1, at, placement, NO_DMA) == ERR_STATE
    called.check("bn_place", state, placed_size, at, placement, NO_DMA)
    out = called.allocate(bytes(4 * SHAPES[shape].vocab_size))
    for first, end in itertools.pairwise((0, 1, 4, TOKENS)):
        called.feed(state, at, ids[first:end])
        called.check("bn_check_state", state, placed_size, at, size)
        called.check("bn_logits", state, at, out)
        logits = np.frombuffer(called.read(out, 4 * SHAPES[shape].vocab_size), "<i4")
        np.testing.assert_array_equal(logits, expected(shape, "ternary")[end - 1])


@functools.cache
def stock_model_reply() -> tuple[bytes, list[int], Logits]:
    """The stock model, more tokens than its window holds, and the oracle's logits after each."""
    stock = STOCK_MODEL.read_bytes()
    oracle = Oracle(stock)
    count = oracle.window + 4
    fed = [int(token) for token in np.random.default_rng(3).integers(0, oracle.config.vocab_size, count)]
    logits = []
    for token in fed:
        oracle.feed([token])
        logits.append(oracle.logits())
    return stock, fed, logits


@pytest.mark.parametrize("name", TARGETS)
def test_stock_model(name: str, record_property: Callable[..., None]) -> None:
    record_property("bit_exact", ("the stock model", name))
    stock, fed, logits = stock_model_reply()
    np.testing.assert_array_equal(target(name).logits(stock, fed), logits)


@pytest.mark.parametrize("name", TARGETS)
def test_another_window_than_the_models(name: str) -> None:
    logits = target(name).logits(model("plain", "ternary"), list(tokens("plain")), window=3)
    np.testing.assert_array_equal(logits, expected("plain", "ternary", 3))


PREFIXED = {
    "room-left": {},
    "wraps": {"window": 8, "num_kv_heads": 4, "weight_type": BINARY},
    "full": {"window": len(toy.template_beginning()), "num_layers": 3, "head_dim": 8, "activation_bits": 4},
}


@functools.cache
def after_the_beginning(shape: str) -> tuple[bytes, list[int], Logits]:
    """A model with a prefix, tokens for after it, and the logits of the oracle, which fed all of them."""
    fed = [int(token) for token in np.random.default_rng(4).integers(0, 420, 10)]
    oracle = Oracle(toy.model(6, prefix=False, **PREFIXED[shape]))
    oracle.feed(toy.template_beginning())
    logits = []
    for token in fed:
        oracle.feed([token])
        logits.append(oracle.logits())
    return toy.model(6, **PREFIXED[shape]), fed, logits


@pytest.mark.parametrize("shape", PREFIXED)
@pytest.mark.parametrize("name", TARGETS)
def test_begin_is_feeding_the_prefix(name: str, shape: str) -> None:
    prefixed, fed, logits = after_the_beginning(shape)
    np.testing.assert_array_equal(target(name).logits(prefixed, fed, begin=True), logits)


def test_begin_goes_back_to_the_same_position() -> None:
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    length = len(toy.template_beginning())
    for prefixed, window, position in (
        (toy.model(6), 0, length),
        (toy.model(6), length, length),
        (toy.model(6), length - 1, 0),
        (toy.model(6, prefix=False), 0, 0),
    ):
        state, at = called.open(prefixed, window)
        for _ in range(2):
            assert called.call("bn_begin", state, at) == position
            assert called.call("bn_position", state, at) == position
            assert called.call("bn_logits", state, at, 0) == EMPTY
            called.feed(state, at, [1, 2])


def test_a_snapshot_of_the_beginning() -> None:
    """It brings back the position, and that there are no logits yet."""
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    state, at = called.open(toy.model(6))
    position = called.check("bn_begin", state, at)
    size = called.check("bn_save", state, at, 0, 0)
    snapshot = called.allocate(bytes(size))
    called.check("bn_save", state, at, snapshot, size)
    called.feed(state, at, [1, 2])
    called.check("bn_restore", state, at, snapshot, size)
    assert called.call("bn_position", state, at) == position
    assert called.call("bn_logits", state, at, 0) == EMPTY


@pytest.mark.parametrize("shape", ["plain", "grouped-heads", "binary-head", "ternary-head", "smallest"])
@pytest.mark.parametrize("name", CALLED)
def test_top_k(name: str, shape: str) -> None:
    """Over everything, over random masks and over nothing; more asked for than allowed."""
    called = target(name)
    assert isinstance(called, HostLibrary | Emulated)
    rng = np.random.default_rng(3)
    vocab = SHAPES[shape].vocab_size
    state, at = called.open(model(shape, "ternary"))
    oracle = Oracle(model(shape, "ternary"))
    mask_size = (vocab + 7) // 8
    masks = [b"\xff" * mask_size, bytes(mask_size), *(rng.bytes(mask_size) for _ in range(3))]
    for token, mask in zip(tokens(shape), masks, strict=False):
        called.feed(state, at, [token])
        oracle.feed([token])
        for count in (1, 5, vocab + 1):
            ids, permille = called.top_k(state, at, mask, count)
            wanted_ids, wanted_permille = oracle.top_k(mask, count)
            assert (ids, permille) == (list(wanted_ids), list(wanted_permille))


@pytest.mark.parametrize("fed", [1, 3, 4, 5, 9])
def test_a_snapshot_brings_the_state_back(fed: int) -> None:
    """Also past the wrap-around of the window of 4."""
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    state, at = called.open(model("wraps", "ternary"))
    called.feed(state, at, list(tokens("wraps")[:fed]))
    size = called.check("bn_save", state, at, 0, 0)
    snapshot = called.allocate(bytes(size))
    assert called.check("bn_save", state, at, snapshot, size) == size
    out = called.allocate(bytes(4 * SHAPES["wraps"].vocab_size))
    called.check("bn_logits", state, at, out)
    at_snapshot = called.read(out, 4 * SHAPES["wraps"].vocab_size)

    called.feed(state, at, [1, 2, 3, 4, 5, 6])
    called.check("bn_restore", state, at, snapshot, size)
    assert called.check("bn_position", state, at) == fed
    called.check("bn_logits", state, at, out)
    assert called.read(out, 4 * SHAPES["wraps"].vocab_size) == at_snapshot
    for token, logits in list(zip(tokens("wraps"), expected("wraps", "ternary"), strict=True))[fed:]:
        called.feed(state, at, [token])
        called.check("bn_logits", state, at, out)
        np.testing.assert_array_equal(np.frombuffer(called.read(out, logits.nbytes), "<i4"), logits)


def test_cortex_m0plus_traps_unaligned_reads() -> None:
    """Or the passing tests above would not show that the core makes none."""
    called = target("cortex-m0plus")
    assert isinstance(called, Emulated)
    state, at = called.open(model("smallest", "binary"))
    # bn_read_scale reads a u16: from an odd address it must fault.
    with pytest.raises(UcError, match="UC_ERR_EXCEPTION"):
        called.call("bn_read_scale", state, at + 65)
