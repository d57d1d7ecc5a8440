"""The oracle: operations against plain definitions, bounds at the extremes, sense against floats."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.model import modelfile, oracle
from bitnet_cli.model.modelfile import Layer, Matrix, ModelConfig, ModelFile, Scale
from bitnet_cli.model.oracle import Bounds, Oracle, Scales
from bitnet_cli.model.random_model import random_model
from support.toy import model as toy_model
from support.toy import template_beginning

SHAPES = [
    ModelConfig(40, 24, 36, 2, 4, 2, 6, window=5),
    ModelConfig(33, 16, 20, 1, 3, 1, 4, window=1, weight_type=1, embedding_bits=8, head_type=1),
    ModelConfig(50, 32, 64, 3, 2, 2, 8, window=7, activation_bits=4, head_type=2),
    ModelConfig(20, 13, 9, 2, 8, 4, 4, window=32, weight_type=1, activation_bits=2),
]
Float64 = npt.NDArray[np.float64]


def array(*values: int) -> oracle.Int64:
    return np.array(values, np.int64)


# --- operations ---


def test_bitlen_and_shifts_are_the_integer_ones() -> None:
    rng = np.random.default_rng(0)
    a = np.concatenate(
        [rng.integers(0, 1 << 31, 1000), np.arange(40), 1 << np.arange(32), (1 << np.arange(32)) - 1]
    )
    assert oracle.bitlen(a).tolist() == [int(value).bit_length() for value in a]
    for s in range(40):
        x = np.concatenate([a, -a]) >> 1
        expected = [0 if s > 30 else int(v) if s == 0 else (int(v) + (1 << (s - 1))) >> s for v in x]
        assert oracle.rshr(x, array(s)).tolist() == expected
        assert oracle.shift(x, array(-s)).tolist() == (expected if s == 0 else x.tolist())


def test_recip_and_mul() -> None:
    u = np.arange(1 << 15, 1 << 16)
    assert oracle.recip(u).tolist() == [min((1 << 30) // int(v), (1 << 15) - 1) for v in u]
    v = np.arange(1 << 30, 1 << 32, 9973)
    assert np.abs(oracle.rsqrt(v) / (2.0**30 / np.sqrt(v)) - 1).max() < 2**-13
    rng = np.random.default_rng(0)
    m, n = rng.integers(1 << 14, 1 << 15, (2, 1000))
    product = oracle.mul(Scales(m, array(-7)), Scales(n, array(3)))
    assert ((product.m >= 1 << 14) & (product.m < 1 << 15)).all()
    assert np.allclose(product.m * 2.0**product.e, m * n * 2.0**-4, rtol=2**-14)
    assert [int(v[0]) for v in oracle.mul(Scales(array(0), array(5)), Scales(array(20000), array(5)))] == [
        0,
        0,
    ]


def test_exp2_sin_cos_are_close() -> None:
    d = np.arange(0, 20 << 8)
    assert np.abs(oracle.exp2(d) / 32768 - 2.0 ** (-d / 256)).max() < 0.003
    assert oracle.exp2(array(0, 15 << 8, 1 << 30)).tolist() == [32768, 0, 0]
    phi = np.arange(0, 1 << 32, 999_983)
    angle = phi / 2**32 * 2 * math.pi
    assert np.abs(oracle.sin(phi) / 16384 - np.sin(angle)).max() < 0.0005
    assert np.abs(oracle.cos(phi) / 16384 - np.cos(angle)).max() < 0.0005
    assert oracle.sin(array(0, 1 << 30, 1 << 31, 3 << 30)).tolist() == [0, 16384, 0, -16384]


@pytest.mark.parametrize("b", [10, 11, 15])
def test_normalize(b: int) -> None:
    rows = np.array(
        [[0, 0, 0], [1, -1, 0], [-(2**31) + 1, 5, 2**30], [-(1 << b), 3, 2], [(1 << b) - 1, 0, -1]]
    )
    y, s = oracle.normalize(rows, b, Bounds(True))
    for row, out, shift_by in zip(rows.tolist(), y.tolist(), s[:, 0].tolist(), strict=True):
        a = max(v if v >= 0 else -v - 1 for v in row)
        assert shift_by == (0 if a == 0 else a.bit_length() - b)
        assert out == [v >> shift_by if shift_by >= 0 else v << -shift_by for v in row]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_norm_quant_is_rms_norm(bits: int) -> None:
    rng = np.random.default_rng(bits)
    limit = (1 << (bits - 1)) - 1
    x = (rng.normal(0, 1, (5, 48)) * 2.0 ** array(3, 10, 16, 20, 27)[:, None]).astype(np.int64)
    gamma = rng.integers(1000, 8000, 48)
    q, r = oracle.norm_quant(x, gamma, bits, Bounds(True))
    real = x / np.sqrt((x * x).mean(axis=-1, keepdims=True)) * gamma
    got = q * r.m[:, None] * 2.0 ** r.e[:, None] * modelfile.norm_factor(48)
    precise = slice(1, None)  # ±8 is coarser than the codes
    step = np.abs(real).max(axis=-1, keepdims=True) / limit
    assert (np.abs(got - real)[precise] <= step[precise] * 1.02).all()
    zero_q, zero_r = oracle.norm_quant(np.zeros((1, 48), np.int64), gamma, bits, Bounds(True))
    assert not zero_q.any() and zero_r.m[0] == zero_r.e[0] == 0


# --- the model ---


def token_by_token(model: bytes, tokens: list[int], window: int = 0) -> oracle.Int32:
    """int32[len(tokens), V]"""
    one = Oracle(model, window, check_bounds=True)
    rows = []
    for token in tokens:
        one.feed([token])
        rows.append(one.logits())
    return np.stack(rows)


@pytest.mark.parametrize("config", SHAPES)
def test_one_by_one_at_once_and_in_a_batch_are_equal(config: ModelConfig) -> None:
    model = random_model(config, 5)
    tokens = np.random.default_rng(5).integers(0, config.vocab_size, 40).tolist()
    steps = token_by_token(model, tokens)
    assert len(np.unique(steps, axis=0)) == (len(tokens) if config.window > 1 else len(set(tokens)))

    one = Oracle(model)
    for start, end in ((0, 3), (3, 4), (4, 30), (30, 40)):
        one.feed(tokens[start:end])
        assert np.array_equal(one.logits(), steps[end - 1])
        assert one.position == end
    one.reset()
    one.feed(tokens[:2])
    assert np.array_equal(one.logits(), steps[1])

    sequences = [tokens[:40], tokens[7:9], tokens[:1], tokens[:23]]
    positions = [[0, 39, 17], [1], [], [22]]
    results = one.batch_logits(sequences, positions)
    assert np.array_equal(results[0].values, steps[[0, 39, 17]])
    assert results[2].values.shape == (0, config.vocab_size)
    assert np.array_equal(results[3].values, steps[[22]])
    one.feed(tokens[2:3])
    assert np.array_equal(one.logits(), steps[2])


@pytest.mark.parametrize("config", [{}, {"window": 8, "num_kv_heads": 4}, {"weight_type": 1, "head_dim": 4}])
def test_begin_is_feeding_the_prefix(config: dict[str, int]) -> None:
    one, other = (Oracle(toy_model(5, prefix=p, **config), check_bounds=True) for p in (True, False))
    assert other.begin() == other.position == 0
    one.feed([1, 2, 3])
    for _ in range(2):
        assert one.begin() == one.position == len(template_beginning())
        with pytest.raises(BitnetError, match="before the first token"):
            one.logits()
        other.reset()
        other.feed(template_beginning())
        for token in range(10):
            one.feed([token])
            other.feed([token])
            assert np.array_equal(one.logits(), other.logits())


def test_begin_in_another_window() -> None:
    beginning = template_beginning()
    fits, small = (Oracle(toy_model(5), window=len(beginning) - less) for less in (0, 1))
    assert (fits.begin(), small.begin()) == (len(beginning), 0)
    fits.feed([7])
    fed = Oracle(toy_model(5, prefix=False), window=len(beginning))
    fed.feed([*beginning, 7])
    assert np.array_equal(fits.logits(), fed.logits())


def test_a_beginning_longer_than_the_window_is_not_stored() -> None:
    beginning = template_beginning()
    for window, stored in ((len(beginning), True), (len(beginning) - 1, False)):
        assert (modelfile.read(toy_model(5, window=window)).prefix is not None) == stored
    with pytest.raises(BitnetError, match="prefix"):
        Oracle(toy_model(5)).prefix()


def test_long_input_is_fed_in_pieces() -> None:
    model = random_model(SHAPES[0], 6)
    tokens = np.random.default_rng(6).integers(0, 40, 300).tolist()
    one = Oracle(model)
    one.feed(tokens)
    assert np.array_equal(one.logits(), token_by_token(model, tokens)[-1])


def test_only_the_window_matters() -> None:
    """With one layer, what is further back than the window leaves no trace but RoPE's position."""
    config = replace(SHAPES[0], num_layers=1)
    model = modelfile.read(random_model(config, 7))
    still = replace(model.weights, rope_step=np.zeros(3, np.uint32))
    data = modelfile.write(config, still, b"", b"", {})
    tail = [3, 1, 4, 1, 5]
    a, b = token_by_token(data, [9, 8, 7, *tail])[-1], token_by_token(data, [2, 6, *tail])[-1]
    assert np.array_equal(a, b)
    assert not np.array_equal(token_by_token(data, [9, *tail], window=6)[-1], a)
    assert np.array_equal(token_by_token(data, tail, window=256)[-1], a)


def float_logits(model: ModelFile, tokens: list[int]) -> Float64:
    """The decoder as in the textbook, from the file's dequantized weights: float64[len(tokens), V]."""
    config, weights = model.config, model.weights

    def linear(x: Float64, gamma: modelfile.Int16, matrix: Matrix) -> Float64:
        normed = x / np.sqrt((x**2).mean(axis=-1, keepdims=True)) * gamma / modelfile.norm_factor(x.shape[-1])
        return np.asarray(normed @ matrix.values.T * float(matrix.scale))

    def turn(x: Float64) -> Float64:
        angle = np.arange(len(tokens))[:, None] * weights.rope_step / 2**32 * 2 * np.pi
        cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = np.split(x.reshape(len(tokens), -1, config.head_dim), 2, axis=-1)
        return np.concatenate([a * cosine - b * sine, a * sine + b * cosine], axis=-1)

    def attention(x: Float64, layer: Layer) -> Float64:
        q, k = (turn(linear(x, layer.attn_norm, w)) for w in (layer.q, layer.k))
        v = linear(x, layer.attn_norm, layer.v).reshape(k.shape)
        repeats = config.num_heads // config.num_kv_heads
        k, v = k.repeat(repeats, axis=1), v.repeat(repeats, axis=1)
        t = np.arange(len(tokens))
        age = t[:, None] - t
        scores = np.where((age >= 0) & (age < config.window), np.einsum("thd,shd->hts", q, k), -np.inf)
        p = 2.0 ** (scores - scores.max(axis=-1, keepdims=True))
        o: Float64 = np.einsum("hts,shd->thd", p / p.sum(axis=-1, keepdims=True), v)
        return o.reshape(len(x), -1)

    x: Float64 = weights.embedding.values[tokens].astype(np.float64) * float(weights.embedding.scale)
    for layer in weights.layers:
        x = x + linear(attention(x, layer), layer.attn_sub_norm, layer.o)
        g, u = linear(x, layer.ffn_norm, layer.gate), linear(x, layer.ffn_norm, layer.up)
        x = x + linear(np.maximum(g, 0) ** 2 * u, layer.ffn_sub_norm, layer.down)
    head = (
        weights.head if isinstance(weights.head, Matrix) else Matrix(weights.head, weights.embedding.values)
    )
    logits: Float64 = linear(x, weights.final_norm, head)
    return logits


@pytest.mark.parametrize("weight_type", [1, 2])
@pytest.mark.parametrize("head_type", [0, 2])
def test_the_integers_mean_what_a_float_decoder_computes(weight_type: int, head_type: int) -> None:
    config = ModelConfig(100, 64, 128, 2, 4, 2, 16, window=12, weight_type=weight_type, head_type=head_type)
    data = random_model(config, 8)
    tokens = np.random.default_rng(8).integers(0, 100, 30).tolist()
    logits = Oracle(data).batch_logits([tokens], [range(30)])[0]
    real = logits.values * logits.scale.m[:, None] * 2.0 ** logits.scale.e[:, None]
    expected = float_logits(modelfile.read(data), tokens)
    relative_error = np.sqrt(((real - expected) ** 2).mean() / (expected**2).mean())
    # int4 keys and values alone cost about a tenth on random models.
    assert relative_error < 0.15
    assert np.corrcoef(real.ravel(), expected.ravel())[0, 1] > 0.985


def extreme_model(config: ModelConfig, exponent: int, seed: int) -> bytes:
    """Codes, weights, γ and mantissas at their ends, all of one sign (seed 0) or of random signs."""
    rng = np.random.default_rng(seed)
    scale = Scale(32767, exponent)

    def signs(*shape: int) -> oracle.Int64:
        return np.ones(shape, np.int64) if seed == 0 else rng.choice(array(-1, 1), shape)

    def norm(n: int) -> modelfile.Int16:
        return np.where(signs(n) > 0, 32767, -32768).astype(np.int16)

    def matrix(rows: int, columns: int) -> Matrix:
        return Matrix(scale, signs(rows, columns).astype(np.int8))

    d, q, kv, f = config.hidden_size, config.query_size, config.kv_size, config.intermediate_size
    layers = tuple(
        Layer(
            norm(d), matrix(q, d), matrix(kv, d), matrix(kv, d), norm(q), matrix(d, q),
            norm(d), matrix(f, d), matrix(f, d), norm(f), matrix(d, f),
        )
        for _ in range(config.num_layers)
    )  # fmt: skip
    codes = signs(config.vocab_size, d) * config.embedding_limit
    embedding = Matrix(scale, codes.astype(np.int8))
    weights = modelfile.Weights(modelfile.rope_steps(config.head_dim), embedding, layers, norm(d), scale)
    return modelfile.write(config, weights, b"", b"", {})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("exponent", [-64, -40, -20, -12, 0, 64])
@pytest.mark.parametrize("activation_bits", [8, 2])
def test_bounds_hold_at_the_extremes(seed: int, exponent: int, activation_bits: int) -> None:
    config = ModelConfig(
        4,
        128,
        512,
        3,
        16,
        8,
        64,
        window=256,
        embedding_bits=8,
        activation_bits=activation_bits,
        weight_type=1,
    )
    one = Oracle(extreme_model(config, exponent, seed), check_bounds=True)
    one.feed([0, 1, 2, 3] * 66)
    one.logits()
    one.top_k(b"\x0f", 4)


def test_operations_stay_in_bounds_at_their_ends() -> None:
    bounds = Bounds(True)
    ends = array(-(2**31) + 1, 2**31 - 1, 2**30, -(2**30), 1, -1)
    for n in (4, 8, 1023, 1024, 4096):
        for x in (
            np.full(n, -(2**31) + 1),
            np.full(n, 1),
            np.resize(ends, n),
            np.eye(1, n, dtype=np.int64)[0],
        ):
            for gamma in (np.full(n, -32768), np.full(n, 32767), np.zeros(n, np.int64)):
                for bits in (8, 4, 2):
                    q, r = oracle.norm_quant(x[None], gamma, bits, bounds)
                    assert np.abs(q).max() < 1 << (bits - 1)
                    assert 1 << 14 <= r.m[0] < 1 << 15
    acc = array(-(2**19) + 1, 2**19 - 1)[None]
    for e in (-200, -60, -46, -45, -15, 0, 200):
        oracle.requant(acc, Scales(array(32767), array(e)), 16, 4096, bounds)
    phi = np.arange(0, 1 << 32, 1 << 24)[:, None, None]
    for x in (-(1 << 15), 1 << 15):
        oracle.rope(np.full((256, 1, 4), x), oracle.cos(phi), oracle.sin(phi), bounds)


@pytest.mark.parametrize("net", [-60, -31, -30, -1, 0, 13, 14, 15, 60])
def test_attention_stays_in_bounds_at_its_ends(net: int) -> None:
    config = ModelConfig(4, 64, 64, 1, 2, 1, 64, window=256)
    one = Oracle(random_model(config, 1), check_bounds=True)
    for signs in (1, np.resize(array(1, -1), 256)):
        codes = np.broadcast_to(np.reshape(7 * np.array(signs), (1, -1, 1, 1)), (1, 256, 1, 64))
        for e_v in (np.zeros(256, np.int64), np.arange(256) % 29):
            cache = oracle._Cache(1, config)
            cache.enter((codes, np.full((1, 256, 1), net)), (codes, e_v.reshape(1, 256, 1)))
            one._attend(np.full((1, 1, 2, 64), 63), np.zeros((1, 1, 2), np.int64), cache)


@pytest.mark.parametrize("exponent", [-21, 64])
def test_bounds_hold_at_the_largest_shape(exponent: int) -> None:
    config = ModelConfig(4, 1024, 4096, 1, 16, 1, 64, embedding_bits=8, weight_type=2)
    one = Oracle(extreme_model(config, exponent, 0), check_bounds=True)
    one.feed([0, 1, 2, 3])
    assert one.logits().max() > 1 << 23


def test_all_zero_values_stay_zero() -> None:
    config = SHAPES[0]
    model = modelfile.read(random_model(config, 9))
    embedding = replace(model.weights.embedding, values=np.zeros((40, 24), np.int8))
    data = modelfile.write(config, replace(model.weights, embedding=embedding), b"", b"", {})
    one = Oracle(data, check_bounds=True)
    one.feed([1, 2])
    assert not one.logits().any()
    assert one.top_k(b"\xff" * 5, 2) == ([0, 1], [25, 25])


# --- choice ---


def test_choose_is_softmax_with_the_lowest_id_first() -> None:
    logits = np.array([5, 900, -7, 900, 899, 0], np.int32)
    scale = Scales(np.array(20000), np.array(-22))
    ids, permille = oracle.choose(logits, scale, np.array([0, 1, 3, 4, 5]), 3)
    assert ids == [1, 3, 4]
    real = np.exp(logits[[1, 3, 4, 0, 5]] * 20000 * 2.0**-22)
    assert permille == pytest.approx(1000 * real[:3] / real.sum(), abs=4)
    assert oracle.choose(logits, scale, np.array([], np.intp), 3) == ([], [])


@pytest.mark.parametrize("exponent", [-90, -45, -15, 0, 60])
def test_choose_stays_in_bounds(exponent: int) -> None:
    logits = np.array([-(1 << 25) + 1, (1 << 25) - 1, (1 << 25) - 1, 0], np.int32)
    for m in (0, 1 << 14, 32767):
        ids, permille = oracle.choose(logits, Scales(np.array(m), np.array(exponent)), np.arange(4), 9)
        assert ids == [1, 2, 3, 0]
        assert permille[0] == permille[1]
        assert sum(permille) in range(997, 1001)


def test_top_k_reads_the_mask_lsb_first() -> None:
    one = Oracle(random_model(SHAPES[0], 5))
    one.feed([3])
    order = np.argsort(-one.logits().astype(np.int64), kind="stable").tolist()
    assert one.top_k(b"\xff" * 5, 40).ids == order
    mask = bytes([0b00000100, 0, 0b10000000, 0, 0])
    assert one.top_k(mask, 9).ids == [i for i in order if i in (2, 23)]


def test_bad_input_is_refused() -> None:
    one = Oracle(random_model(SHAPES[0], 5))
    with pytest.raises(BitnetError, match="before the first token"):
        one.logits()
    for bad in ([40], [-1]):
        with pytest.raises(BitnetError, match="vocabulary"):
            one.feed(bad)
    one.feed([1])
    with pytest.raises(BitnetError, match="mask"):
        one.top_k(b"\xff" * 4, 1)
    with pytest.raises(BitnetError, match="position"):
        one.batch_logits([[1, 2]], [[2]])
    with pytest.raises(BitnetError, match="window"):
        Oracle(random_model(SHAPES[0], 5), window=257)
