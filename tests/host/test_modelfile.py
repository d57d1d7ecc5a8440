"""The `.bitnet` file: what is written is read back, and whatever is wrong is refused with one clear line."""

import itertools
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.model import modelfile
from bitnet_cli.model.grammar import Labels, labels_section, specials
from bitnet_cli.model.modelfile import Matrix, ModelConfig, Prefix, Scale
from bitnet_cli.model.packing import TERNARY
from bitnet_cli.model.random_model import random_model
from bitnet_cli.model.tokenizer import tokenizer_section, train_tokenizer

SMALL = ModelConfig(20, 24, 36, 2, 4, 2, 6)
SHAPES = [
    SMALL,
    ModelConfig(1, 8, 8, 1, 1, 1, 4, window=1, weight_type=1),
    ModelConfig(37, 13, 11, 1, 3, 1, 4, embedding_bits=8, head_type=1),
    ModelConfig(300, 9, 17, 3, 2, 2, 8, weight_type=1, head_type=2, activation_bits=2),
]


def resealed(data: bytes) -> bytes:
    """The same bytes under a checksum that fits."""
    return data[:12] + struct.pack("<I", zlib.crc32(data[16:])) + data[16:]


def patched(data: bytes, offset: int, new: bytes) -> bytes:
    return resealed(data[:offset] + new + data[offset + len(new) :])


@pytest.mark.parametrize("config", SHAPES)
def test_what_is_written_is_read_back(config: ModelConfig) -> None:
    data = random_model(config, 1, metadata={"name": "größe"})
    model = modelfile.read(data)
    assert model.config == config
    assert model.metadata == {"name": "größe"}
    assert modelfile.write(config, model.weights, b"", b"", model.metadata) == data
    assert sum(modelfile.part_sizes(data).values()) == len(data)


def ternary_byte(digits: list[int]) -> int:
    """f_n of SPEC 1.2, word for word."""
    if not digits:
        return 0
    *rest, last = digits
    if last < 2:
        return 2 * sum(d * 3**j for j, d in enumerate(rest)) + last
    return 2 * 3 ** len(rest) + ternary_byte(rest)


def test_ternary_bytes_are_those_of_the_specs_examples() -> None:
    for weights, byte in (([-1, 0, 1, 1, 0], 151), ([1, 0, -1, 0, 1], 173), ([0] * 5, 81), ([1] * 5, 242)):
        packed = Matrix(Scale(16384, 0), np.array([weights], np.int8)).pack(TERNARY)
        assert packed[4] == byte
    groups = list(itertools.product(range(3), repeat=5))
    assert sorted(map(ternary_byte, map(list, groups))) == list(range(243))


@pytest.mark.parametrize("weight_type", [1, 2])
def test_matrix_layout_is_the_one_of_the_spec(weight_type: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.choice(np.array([-1, 1] if weight_type == 1 else [-1, 0, 1], np.int8), (6, 11))
    matrix = Matrix(Scale(20000, -9), values)
    packed = matrix.pack(weight_type)
    c = 8 if weight_type == 1 else 5
    groups = -(-11 // c)
    assert len(packed) == 4 + 4 * groups * 2
    assert packed[:4] == struct.pack("<Hh", 20000, -9)
    padded = np.full((8, groups * c), -1 if weight_type == 1 else 0)
    padded[:6, :11] = values
    for r in range(8):
        for g in range(groups):
            weights = padded[r, g * c : (g + 1) * c].tolist()
            byte = packed[4 + (r // 4) * groups * 4 + g * 4 + r % 4]
            if weight_type == 1:
                assert byte == sum(1 << j for j, w in enumerate(weights) if w == 1)
            else:
                assert byte == ternary_byte([w + 1 for w in weights])
    unpacked = Matrix.unpack(packed, 6, 11, weight_type)
    assert unpacked.scale == matrix.scale
    assert np.array_equal(unpacked.values, values)


def test_embedding_nibbles() -> None:
    config = replace(SMALL, vocab_size=1, hidden_size=9)
    model = modelfile.read(random_model(config, 2))
    codes = np.array([[-7, 7, 1, -1, 0, 2, 3, 4, -5]], np.int8)
    weights = replace(model.weights, embedding=Matrix(Scale(16384, 0), codes))
    data = modelfile.write(config, weights, b"", b"", {})
    start = 64 + 4 * 3 + 4
    assert data[start : start + 8] == bytes([0x79, 0xF1, 0x20, 0x43, 0x0B, 0, 0, 0])
    assert np.array_equal(modelfile.read(data).weights.embedding.values, codes)


@pytest.mark.parametrize("x", [1.0, 0.3, 1e-9, 12345.678, 2.0**-49, 0.999999999])
def test_scale_from_float(x: float) -> None:
    assert float(Scale.from_float(x)) == pytest.approx(x, rel=2**-15)


@pytest.mark.parametrize("x", [0.0, -1.0, float("nan"), float("inf"), 1e40, 1e-40])
def test_scale_refuses(x: float) -> None:
    with pytest.raises(BitnetError, match="scale"):
        Scale.from_float(x)


def test_rope_steps() -> None:
    assert list(modelfile.rope_steps(4)) == [683565276, 6835653]


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 0},
        {"hidden_size": 7},
        {"num_kv_heads": 3},
        {"num_kv_heads": 0},
        {"head_dim": 5},
        {"num_heads": 64, "head_dim": 64},
        {"window": 257},
        {"weight_type": 3},
        {"activation_bits": 3},
        {"embedding_bits": 2},
        {"head_type": 3},
    ],
)
def test_config_refuses(change: dict[str, int]) -> None:
    with pytest.raises(BitnetError, match=next(iter(change))):
        replace(SMALL, **change)


def test_every_truncation_is_refused() -> None:
    data = random_model(SMALL, 3)
    for length in range(len(data)):
        with pytest.raises(BitnetError, match="truncated"):
            modelfile.read(data[:length])


def test_every_flipped_byte_is_refused() -> None:
    data = random_model(SMALL, 3)
    for offset in range(len(data)):
        flipped = data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :]
        with pytest.raises(BitnetError):
            modelfile.read(flipped)


def test_split_moves_the_layers_and_nothing_else() -> None:
    data = random_model(SMALL, 3)
    resident, layers = modelfile.split(data)
    assert struct.unpack_from("<I", resident, 8) == (len(resident),)
    assert struct.unpack_from("<I", resident, 52) == (zlib.crc32(layers),)
    assert len(layers) % modelfile.PSRAM_BURST == 0
    assert len(data) - len(resident) <= len(layers) < len(data) + 3 * 32 * SMALL.num_layers
    for again in (resident, data[:-1]):
        with pytest.raises(BitnetError):
            modelfile.split(again)


def test_refusals_say_what_is_wrong() -> None:
    data = random_model(SMALL, 3)
    sizes = struct.unpack_from("<5I", data, 32)
    json_end = data.rindex(b"}")
    cases = [
        (b"ELF!" + data[4:], "BITN"),
        (patched(data, 4, b"\1\0"), "version 1"),
        (patched(data, 6, b"\1\0"), "file of their own"),
        (patched(data, 6, b"\2\0"), "reserved"),
        (patched(data, 63, b"\1"), "reserved"),
        (data + b"\0", "larger than it claims"),
        (patched(data, 8, struct.pack("<I", 2**32 - 1)), "truncated"),
        (data[:-1] + b"?", "checksum"),
        (patched(data, 22, b"\0"), "num_layers"),
        (patched(data, 32, struct.pack("<I", sizes[0] + 16)), "add up"),
        (patched(data, 32, struct.pack("<I", 2**32 - 1)), "add up"),
        (patched(data, 36, struct.pack("<I", 2**32 - 16)), "add up"),
        (patched(data, 22, b"\1"), "weights do not have the size"),
        (patched(data, 44, struct.pack("<I", sizes[3] - 1)), "add up"),
        (patched(data, 44, struct.pack("<I", sizes[3] + 16)), "add up"),
        (patched(data, 48, struct.pack("<I", 1)), "add up"),
        (patched(data, 48, struct.pack("<I", 2**32 - 16)), "add up"),
        (patched(data, 52, b"\1"), "reserved"),
        (patched(data, json_end, b"x"), "not JSON"),
        (patched(data, 64 + 12, b"\0\0"), "scale"),
    ]
    for bad, message in cases:
        with pytest.raises(BitnetError, match=message) as caught:
            modelfile.read(bad)
        assert "\n" not in str(caught.value)


def test_every_resealed_byte_is_read_or_refused() -> None:
    """A checksum that fits does not get nonsense past the other checks: only BitnetError comes out."""
    data = random_model(SMALL, 3)
    for offset in range(len(data)):
        for value in (0, 255):
            try:
                modelfile.read(patched(data, offset, bytes([value])))
            except BitnetError as error:
                assert str(error)


def test_tokenizer_and_labels_are_checked_with_the_file() -> None:
    labels = Labels(["on", "off"], {"room": "text"}, {"on": ["room"]})
    keys = specials(labels.intents, list(labels.slots))
    trained = train_tokenizer(["lights on in the kitchen"] * 3, 300, keys)
    sections = tokenizer_section(trained, keys), labels_section(labels.resolve(trained))
    config = replace(SMALL, vocab_size=trained.get_vocab_size())
    model = modelfile.read(random_model(config, 4, *sections))
    assert (model.tokenizer, model.labels) == sections
    for other, tokenizer, label, message in (
        (config, sections[0][:-1], b"", "tokenizer is damaged"),
        (SMALL, sections[0], b"", "the model has 20"),
        (config, sections[0], sections[1] + b"x", "labels are damaged"),
        (config, b"", sections[1], "labels are damaged"),
    ):
        with pytest.raises(BitnetError, match=message):
            modelfile.read(random_model(other, 4, tokenizer, label))


def random_prefix(config: ModelConfig, positions: int, seed: int = 0) -> Prefix:
    rng = np.random.default_rng(seed)
    shape = (config.num_layers, positions, config.num_kv_heads)
    codes = (rng.integers(-7, 8, (*shape, config.head_dim), np.int8) for _ in range(2))
    return Prefix(*codes, rng.integers(-128, 128, shape, np.int8), rng.integers(0, 128, shape, np.int8))


def labelled_model(config: ModelConfig, prefix: Prefix | None) -> bytes:
    labels = Labels(["on", "off"], {"room": "text"}, {"on": ["room"]})
    keys = specials(labels.intents, list(labels.slots))
    trained = train_tokenizer(["lights on in the kitchen"] * 3, 300, keys)
    config = replace(config, vocab_size=trained.get_vocab_size())
    sections = tokenizer_section(trained, keys), labels_section(labels.resolve(trained))
    weights = modelfile.read(random_model(config, 4)).weights
    return modelfile.write(config, weights, *sections, {}, prefix)


@pytest.mark.parametrize("positions", [1, 5, 32])
def test_prefix_is_read_back(positions: int) -> None:
    prefix = random_prefix(SMALL, positions)
    data = labelled_model(SMALL, prefix)
    read = modelfile.read(data).prefix
    assert read is not None
    for name in ("k_codes", "v_codes", "k_exponents", "v_exponents"):
        assert np.array_equal(getattr(read, name), getattr(prefix, name))
    assert modelfile.part_sizes(data)["prefix"] == 4 + 2 * positions * 2 * (4 + 2 * 4)
    assert sum(modelfile.part_sizes(data).values()) == len(data)


def test_prefix_layout_is_the_one_of_the_spec() -> None:
    config = replace(SMALL, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=10)
    k = np.array([[[[1, -1, 2, -2, 3, -3, 4, -4, 0, 7]]]], np.int8)
    prefix = Prefix(k, -k, np.array([[[-9]]], np.int8), np.array([[[127]]], np.int8))
    data = labelled_model(config, prefix)
    codes_k = bytes([0x79, 0x6A, 0x5B, 0x4C, 0xF8, 0x88, 0x88, 0x88])
    codes_v = bytes([0x97, 0xA6, 0xB5, 0xC4, 0x18, 0x88, 0x88, 0x88])
    assert data[-24:] == bytes([1, 0, 0, 0, 9, 129, 0, 0]) + codes_k + codes_v


def test_a_prefix_that_no_model_leaves_is_refused() -> None:
    prefix = random_prefix(SMALL, 3)
    data = labelled_model(SMALL, prefix)
    start = len(data) - 4 - 6 * 24
    cases = [
        (start, struct.pack("<H", 2), "does not have the size"),
        (start, struct.pack("<H", 0), "does not have the size"),
        (start, struct.pack("<H", 65535), "does not have the size"),
        (start + 2, b"\1", "does not have the size"),
        (start + 4 + 1, b"\1", "no token leaves"),
        (start + 4 + 2, b"\1", "padding that is not zero"),
        (start + 4 + 4, b"\x80", "no token leaves"),
        (start + 4 + 8, b"\x08", "no token leaves"),
        (start + 4 + 7, b"\x98", "padding that is not code 0"),
        (26, struct.pack("<H", 2), "it must be 1 to 2"),
    ]
    for offset, new, message in cases:
        with pytest.raises(BitnetError, match=message):
            modelfile.read(patched(data, offset, new))
    without_labels = modelfile.write(
        SMALL, modelfile.read(random_model(SMALL, 4)).weights, b"", b"", {}, prefix
    )
    with pytest.raises(BitnetError, match="no labels"):
        modelfile.read(without_labels)
    too_large = replace(prefix, v_codes=np.full_like(prefix.v_codes, -8))
    for bad, message in (
        (random_prefix(SMALL, 33), "it must be 1 to 32"),
        (random_prefix(replace(SMALL, head_dim=8), 3), "shape"),
        (replace(prefix, k_exponents=prefix.k_exponents.astype(np.int64)), "int8"),
        (too_large, "no token leaves"),
    ):
        with pytest.raises(BitnetError, match=message):
            labelled_model(SMALL, bad)


def test_write_refuses_other_shapes_and_values() -> None:
    model = modelfile.read(random_model(SMALL, 3))
    weights = model.weights
    layer = weights.layers[0]
    bad_layer = replace(layer, q=Matrix(layer.q.scale, layer.k.values))
    bad_value = replace(layer, q=Matrix(layer.q.scale, layer.q.values * np.int8(2)))
    cases = [
        (replace(weights, layers=weights.layers[:1]), "layers"),
        (replace(weights, layers=(bad_layer, layer)), "q has shape"),
        (replace(weights, layers=(bad_value, layer)), "weights must be"),
        (replace(weights, final_norm=weights.final_norm.astype(np.float32)), "final_norm has type"),
        (replace(weights, head=weights.embedding), "tied"),
        (
            replace(
                weights, embedding=replace(weights.embedding, values=weights.embedding.values * np.int8(8))
            ),
            "codes",
        ),
    ]
    for bad, message in cases:
        with pytest.raises(BitnetError, match=message):
            modelfile.write(SMALL, bad, b"", b"", {})
