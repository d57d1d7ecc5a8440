"""A file that is damaged or lies about itself is refused with the right error, never read past its end."""

import ctypes
import random
import struct
import zlib

import numpy as np
import pytest
from bitnet_cli.model.modelfile import ModelConfig, Prefix, split
from bitnet_cli.model.packing import BINARY, TERNARY
from bitnet_cli.model.random_model import random_model
from support.targets import Emulated, HostLibrary, Sanitized, TargetError, pack_run, target

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

OK = 0
(
    ALIGN,
    TRUNCATED,
    MAGIC,
    VERSION,
    CHECKSUM,
    CONFIG,
    LAYOUT,
    STATE,
    TOKEN,
    RANGE,
    EMPTY,
    APART,
    LAYERS_DIFFER,
) = range(-1, -14, -1)

NO_DMA = 0xFFFFFFFF

MERGES = [(104, 105), (256, 33)]
VOCAB = 264
POSITIONS = 3
HEADER_FIELDS = (0, 4, 6, 8, 12, 16, 18, 20, 22, 23, 24, 25, 26, 28, 29, 30, 31, 32, 36, 40, 44, 48, 52)


def tokenizer(merges: list[tuple[int, int]] = MERGES, hash_bits: int = 3, texts: int = VOCAB) -> bytes:
    """Sound for a loader; the slots of its hash are in no useful order."""
    hash_table = [*range(len(merges)), *[0xFFFF] * ((1 << hash_bits) - len(merges))]
    flat = [token for pair in merges for token in pair]
    header = struct.pack("<4H", len(merges), hash_bits, texts, 0)
    return header + struct.pack(f"<{len(flat) + len(hash_table)}H", *flat, *hash_table) + offsets(texts)


def offsets(texts: int) -> bytes:
    return struct.pack(f"<{texts + 1}H", *range(texts + 1)) + bytes(texts)


def labels(intents: int = 3, slots: int = 2) -> bytes:
    header = struct.pack("<10H", intents, slots, 258, 261, 2, 3, 4, 5, 1, 400)
    return header + struct.pack(f"<{intents}I", *[(1 << slots) - 1] * intents) + bytes(slots)


def make_model(weight_type: int = TERNARY, head_type: int = 0, embedding_bits: int = 8) -> bytes:
    config = ModelConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=24,
        num_layers=2,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        window=4,
        weight_type=weight_type,
        embedding_bits=embedding_bits,
        head_type=head_type,
    )
    rng = np.random.default_rng(2)
    codes = (rng.integers(-7, 8, (2, POSITIONS, 1, 8), np.int8) for _ in range(2))
    exponents = (rng.integers(0, 20, (2, POSITIONS, 1), np.int8) for _ in range(2))
    return random_model(config, 1, tokenizer(), labels(), prefix=Prefix(*codes, *exponents))


MODEL = make_model()
WEIGHTS_SIZE, TOKENIZER_SIZE, LABELS_SIZE, METADATA_SIZE, PREFIX_SIZE = struct.unpack_from("<5I", MODEL, 32)
TOKENIZER = (64 + WEIGHTS_SIZE + 15) & ~15
LABELS = (TOKENIZER + TOKENIZER_SIZE + 15) & ~15
PREFIX = len(MODEL) - PREFIX_SIZE
EMBEDDING = 64 + 2 * 8
Q_SCALE = EMBEDDING + 4 + VOCAB * 16 + 2 * 16


def sealed(model: bytes | bytearray) -> bytes:
    """With the right checksum: what is wrong is then for the loader to find."""
    size = max(16, min(struct.unpack_from("<I", model, 8)[0], len(model)))
    return bytes(model[:12]) + struct.pack("<I", zlib.crc32(model[16:size])) + bytes(model[16:])


def patched(at: int, layout: str, *values: int) -> bytes:
    model = bytearray(MODEL)
    struct.pack_into("<" + layout, model, at, *values)
    return sealed(model)


def weights_end(model: bytes) -> int:
    return 64 + int(struct.unpack_from("<I", model, 32)[0])


def result(model: bytes, tokens: tuple[int, ...] = (1, 2)) -> int:
    """The error a run under the sanitizers ends with."""
    try:
        target("x86-64-sanitized").logits(model, list(tokens))
    except TargetError as error:
        return error.code
    return OK


def test_the_model_itself_is_sound() -> None:
    assert result(MODEL) == OK


def test_bytes_after_the_end_do_not_matter() -> None:
    assert result(MODEL + b"\xff" * 100) == OK


@pytest.mark.parametrize("size", [*range(1, 64, 3), *HEADER_FIELDS, 64, 65, TOKENIZER, len(MODEL) - 1])
def test_truncation(size: int) -> None:
    assert result(MODEL[:size]) == TRUNCATED


@pytest.mark.parametrize("size", [64, 100, TOKENIZER, LABELS, len(MODEL) - 1])
def test_truncation_that_the_header_admits(size: int) -> None:
    model = bytearray(MODEL[:size])
    struct.pack_into("<I", model, 8, size)
    assert result(sealed(model)) == LAYOUT


@pytest.mark.parametrize("seed", range(40))
def test_one_flipped_bit(seed: int) -> None:
    rng = random.Random(seed)
    model = bytearray(MODEL)
    at = rng.randrange(12, len(model))
    model[at] ^= 1 << rng.randrange(8)
    assert result(bytes(model)) == CHECKSUM


WRONG_FIELDS = [
    ("magic", 0, "4B", (0x42, 0x49, 0x54, 0x4D), MAGIC),
    ("version-1", 4, "H", (1,), VERSION),
    ("version-0", 4, "H", (0,), VERSION),
    ("layers-apart", 6, "H", (1,), LAYOUT),
    ("reserved-begin", 6, "H", (2,), CONFIG),
    ("reserved-begin-end", 6, "H", (0x8000,), CONFIG),
    ("file_size-larger", 8, "I", (len(MODEL) + 1,), TRUNCATED),
    ("file_size-largest", 8, "I", (0xFFFFFFFF,), TRUNCATED),
    ("file_size-smaller", 8, "I", (len(MODEL) - 1,), LAYOUT),
    ("file_size-in-header", 8, "I", (63,), LAYOUT),
    ("file_size-0", 8, "I", (0,), LAYOUT),
    ("vocab_size-0", 16, "H", (0,), CONFIG),
    ("vocab_size-large", 16, "H", (32769,), CONFIG),
    ("vocab_size-other", 16, "H", (VOCAB + 1,), LAYOUT),
    ("hidden_size-small", 18, "H", (7,), CONFIG),
    ("hidden_size-large", 18, "H", (1025,), CONFIG),
    ("hidden_size-other", 18, "H", (1024,), LAYOUT),
    ("intermediate_size-small", 20, "H", (7,), CONFIG),
    ("intermediate_size-large", 20, "H", (4097,), CONFIG),
    ("intermediate_size-other", 20, "H", (4096,), LAYOUT),
    ("num_layers-0", 22, "B", (0,), CONFIG),
    ("num_layers-large", 22, "B", (33,), CONFIG),
    ("num_layers-other", 22, "B", (32,), LAYOUT),
    ("num_heads-0", 23, "B", (0,), CONFIG),
    ("num_heads-large", 23, "B", (65,), CONFIG),
    ("num_kv_heads-0", 24, "B", (0,), CONFIG),
    ("num_kv_heads-more", 24, "B", (4,), CONFIG),
    ("heads-not-divided", 23, "2B", (3, 2), CONFIG),
    ("head_dim-odd", 25, "B", (7,), CONFIG),
    ("head_dim-small", 25, "B", (2,), CONFIG),
    ("head_dim-large", 25, "B", (66,), CONFIG),
    ("query-too-wide", 23, "3B", (64, 64, 64), CONFIG),
    ("window-0", 26, "H", (0,), CONFIG),
    ("window-large", 26, "H", (257,), CONFIG),
    ("weight_type-0", 28, "B", (0,), CONFIG),
    ("weight_type-3", 28, "B", (3,), CONFIG),
    ("weight_type-other", 28, "B", (BINARY,), LAYOUT),
    ("activation_bits", 29, "B", (3,), CONFIG),
    ("embedding_bits", 30, "B", (2,), CONFIG),
    ("embedding_bits-other", 30, "B", (4,), LAYOUT),
    ("head_type", 31, "B", (3,), CONFIG),
    ("head_type-other", 31, "B", (1,), LAYOUT),
    ("weights_size-more", 32, "I", (WEIGHTS_SIZE + 16,), LAYOUT),
    ("weights_size-largest", 32, "I", (0xFFFFFFFF,), LAYOUT),
    ("weights_size-wraps", 32, "2I", (0xFFFFFFF0, 16), LAYOUT),
    ("tokenizer_size-largest", 36, "I", (0xFFFFFFFF,), LAYOUT),
    ("labels_size-largest", 40, "I", (0xFFFFFFFF,), LAYOUT),
    ("metadata_size-largest", 44, "I", (0xFFFFFFFF,), LAYOUT),
    ("metadata_size-less", 44, "I", (METADATA_SIZE - 1,), LAYOUT),
    ("metadata_size-more", 44, "I", (METADATA_SIZE + 16,), LAYOUT),
    ("prefix_size-0", 48, "I", (0,), LAYOUT),
    ("prefix_size-less", 48, "I", (PREFIX_SIZE - 1,), LAYOUT),
    ("prefix_size-more", 48, "I", (PREFIX_SIZE + 1,), LAYOUT),
    ("prefix_size-largest", 48, "I", (0xFFFFFFFF,), LAYOUT),
    ("prefix_size-wraps", 44, "2I", (0xFFFFFFF0, 16), LAYOUT),
    ("reserved", 52, "B", (1,), CONFIG),
    ("reserved-end", 63, "B", (1,), CONFIG),
    ("embedding-scale-small", EMBEDDING, "H", (16383,), LAYOUT),
    ("embedding-scale-large", EMBEDDING, "H", (32768,), LAYOUT),
    ("embedding-exponent", EMBEDDING + 2, "h", (65,), LAYOUT),
    ("q-scale", Q_SCALE, "H", (0,), LAYOUT),
    ("q-exponent", Q_SCALE + 2, "h", (-65,), LAYOUT),
    ("merge_count", TOKENIZER, "H", (0xFFFF,), LAYOUT),
    ("merge_count-less", TOKENIZER, "H", (1,), LAYOUT),
    ("hash_bits-0", TOKENIZER + 2, "H", (0,), LAYOUT),
    ("hash_bits-large", TOKENIZER + 2, "H", (16,), LAYOUT),
    ("hash_bits-largest", TOKENIZER + 2, "H", (0xFFFF,), LAYOUT),
    ("token_count", TOKENIZER + 4, "H", (VOCAB - 1,), LAYOUT),
    ("merge-of-itself", TOKENIZER + 8, "H", (256,), LAYOUT),
    ("hash-entry", TOKENIZER + 16, "H", (2,), LAYOUT),
    ("hash-full", TOKENIZER + 16, "8H", (0, 1, 0, 1, 0, 1, 0, 0xFFFF), LAYOUT),
    ("offsets-begin", TOKENIZER + 32, "H", (1,), LAYOUT),
    ("offsets-fall", TOKENIZER + 32 + 2 * 9, "H", (0,), LAYOUT),
    ("offsets-end", TOKENIZER + 32 + 2 * VOCAB, "H", (VOCAB + 1,), LAYOUT),
    ("intent_count-0", LABELS, "H", (0,), LAYOUT),
    ("intent_count-large", LABELS, "H", (1025,), LAYOUT),
    ("intent_count-other", LABELS, "H", (4,), LAYOUT),
    ("slot_count-large", LABELS + 2, "H", (33,), LAYOUT),
    ("first_intent", LABELS + 4, "H", (VOCAB - 2,), LAYOUT),
    ("first_slot", LABELS + 6, "H", (0xFFFF,), LAYOUT),
    ("system", LABELS + 8, "H", (VOCAB,), LAYOUT),
    ("end", LABELS + 14, "H", (0xFFFF,), LAYOUT),
    ("unknown", LABELS + 16, "H", (3,), LAYOUT),
    ("threshold", LABELS + 18, "H", (1001,), LAYOUT),
    ("allowed-slot", LABELS + 20, "I", (4,), LAYOUT),
    ("kind", LABELS + 20 + 12, "B", (2,), LAYOUT),
    ("positions-0", PREFIX, "H", (0,), LAYOUT),
    ("positions-less", PREFIX, "H", (POSITIONS - 1,), LAYOUT),
    ("positions-more", PREFIX, "H", (POSITIONS + 1,), LAYOUT),
    ("positions-largest", PREFIX, "H", (0xFFFF,), LAYOUT),
    ("prefix-reserved", PREFIX + 2, "H", (1,), LAYOUT),
    ("window-smaller-than-prefix", 26, "H", (POSITIONS - 1,), LAYOUT),
]


@pytest.mark.parametrize(
    ("at", "layout", "values", "error"), [f[1:] for f in WRONG_FIELDS], ids=[f[0] for f in WRONG_FIELDS]
)
def test_wrong_field(at: int, layout: str, values: tuple[int, ...], error: int) -> None:
    assert result(patched(at, layout, *values)) == error


@pytest.mark.parametrize("size", range(1, 9))
def test_a_prefix_of_a_few_bytes(size: int) -> None:
    model = bytearray(MODEL[: PREFIX + size])
    struct.pack_into("<I", model, 8, len(model))
    struct.pack_into("<I", model, 48, size)
    assert result(sealed(model)) == LAYOUT


def test_a_prefix_needs_labels() -> None:
    model = bytearray(MODEL[:LABELS] + MODEL[LABELS + ((LABELS_SIZE + 15) & ~15) :])
    struct.pack_into("<I", model, 8, len(model))
    struct.pack_into("<I", model, 40, 0)
    assert result(sealed(model)) == LAYOUT


# --- a file without its layers: bytes behind it are in PSRAM ---

RESIDENT, LAYERS_APART = split(MODEL)
RESIDENT_PREFIX = len(RESIDENT) - PREFIX_SIZE
RESIDENT_TOKENIZER = (64 + struct.unpack_from("<I", RESIDENT, 32)[0] + 15) & ~15


def apart(model: bytes | bytearray, layers: bytes = LAYERS_APART) -> bytes:
    """A resident file with the right checksum, and what PSRAM holds."""
    return sealed(model) + layers


def patched_resident(at: int, layout: str, *values: int) -> bytes:
    model = bytearray(RESIDENT)
    struct.pack_into("<" + layout, model, at, *values)
    return apart(model)


def with_layers(layers: bytes) -> bytes:
    """With the right checksums: what is wrong with the layers is then to be found."""
    model = bytearray(RESIDENT)
    struct.pack_into("<I", model, 52, zlib.crc32(layers))
    return apart(model, layers)


def test_layers_apart_give_the_same_logits() -> None:
    runner = target("x86-64-sanitized")
    for weight_type, head_type in ((TERNARY, 0), (BINARY, TERNARY), (TERNARY, BINARY)):
        model = make_model(weight_type, head_type)
        whole = runner.logits(model, [1, 2, 3], begin=True)
        assert np.array_equal(runner.logits(b"".join(split(model)), [1, 2, 3], begin=True), whole)


@pytest.mark.parametrize(
    "size", [*range(8, 64, 3), 64, 65, RESIDENT_TOKENIZER, RESIDENT_PREFIX, len(RESIDENT) - 1]
)
def test_truncation_of_a_resident_file(size: int) -> None:
    assert result(RESIDENT[:size]) == TRUNCATED


@pytest.mark.parametrize("size", [64, 100, RESIDENT_TOKENIZER, RESIDENT_PREFIX, len(RESIDENT) - 1])
def test_truncation_that_a_resident_header_admits(size: int) -> None:
    model = bytearray(RESIDENT[:size])
    struct.pack_into("<I", model, 8, size)
    assert result(sealed(model)) == LAYOUT


@pytest.mark.parametrize("size", [0, 1, 32, len(LAYERS_APART) // 2, len(LAYERS_APART) - 1])
def test_layers_that_are_not_all_there(size: int) -> None:
    assert result(RESIDENT + LAYERS_APART[:size]) == LAYERS_DIFFER


@pytest.mark.parametrize("seed", range(20))
def test_one_flipped_bit_of_layers_or_resident_file(seed: int) -> None:
    rng = random.Random(seed)
    for start, data, error in ((0, LAYERS_APART, LAYERS_DIFFER), (12, RESIDENT, CHECKSUM)):
        flipped = bytearray(data)
        flipped[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
        both = (RESIDENT, bytes(flipped)) if data is LAYERS_APART else (bytes(flipped), LAYERS_APART)
        assert result(b"".join(both)) == error


WRONG_RESIDENT_FIELDS = [
    ("not-apart", 6, "H", (0,), CONFIG),
    ("reserved-flag", 6, "H", (3,), CONFIG),
    ("reserved", 56, "B", (1,), CONFIG),
    ("reserved-end", 63, "B", (1,), CONFIG),
    ("layers_crc", 52, "I", (zlib.crc32(LAYERS_APART) ^ 1,), LAYERS_DIFFER),
    ("file_size-smaller", 8, "I", (len(RESIDENT) - 1,), LAYOUT),
    ("num_layers-more", 22, "B", (3,), LAYOUT),
    ("intermediate_size-other", 20, "H", (32,), LAYERS_DIFFER),
    ("weight_type-other", 28, "B", (BINARY,), LAYERS_DIFFER),
    ("weights_size-more", 32, "I", (struct.unpack_from("<I", RESIDENT, 32)[0] + 16,), LAYOUT),
    ("weights_size-whole", 32, "I", (WEIGHTS_SIZE,), LAYOUT),
    ("weights_size-largest", 32, "I", (0xFFFFFFFF,), LAYOUT),
    ("tokenizer_size-largest", 36, "I", (0xFFFFFFFF,), LAYOUT),
    ("prefix_size-largest", 48, "I", (0xFFFFFFFF,), LAYOUT),
    ("embedding-scale", EMBEDDING, "H", (16383,), LAYOUT),
    ("head-scale", weights_end(RESIDENT) - 4, "I", (0,), LAYOUT),
    ("positions-more", RESIDENT_PREFIX, "H", (POSITIONS + 1,), LAYOUT),
]


@pytest.mark.parametrize(
    ("at", "layout", "values", "error"),
    [f[1:] for f in WRONG_RESIDENT_FIELDS],
    ids=[f[0] for f in WRONG_RESIDENT_FIELDS],
)
def test_wrong_field_of_a_resident_file(at: int, layout: str, values: tuple[int, ...], error: int) -> None:
    assert result(patched_resident(at, layout, *values)) == error


def test_layers_with_the_right_checksum_are_checked_like_others() -> None:
    whole = scale_offsets(TERNARY)[1:-1]
    for at in whole:
        scale = MODEL[at : at + 4]
        first = LAYERS_APART.index(scale)
        for value, error in ((242, OK), (243, LAYOUT)):
            layers = LAYERS_APART[: first + 4] + bytes([value]) + LAYERS_APART[first + 5 :]
            assert result(with_layers(layers)) == error
        assert result(with_layers(LAYERS_APART[:first] + bytes(4) + LAYERS_APART[first + 4 :])) == LAYOUT


def test_more_layers_than_psram_holds() -> None:
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    config = ModelConfig(VOCAB, 512, 2048, 24, 8, 2, 32, weight_type=BINARY)
    resident, layers = split(random_model(config, 1))
    assert len(layers) > 8 << 20
    state, at = called.open(resident)
    assert called.call("bn_place_psram", state, 1 << 30, at, 0, 1, 2) == RANGE


@pytest.mark.parametrize("name", ["x86-64", "cortex-m0plus", "cortex-m7", "rv32imc", "xtensa"])
def test_layers_apart_are_refused_elsewhere(name: str) -> None:
    called = target(name)
    assert isinstance(called, HostLibrary | Emulated)
    state, at = called.open(RESIDENT)
    needed = called.call("bn_state_size", at, len(RESIDENT), 0)
    size = needed + called.call("bn_placement_size", at, len(RESIDENT), 2)
    token = called.allocate(bytes(2))
    for placement in range(3):
        assert called.call("bn_place", state, size, at, placement, NO_DMA) == APART
    assert called.call("bn_feed", state, at, token, 1, 0) == APART
    assert called.call("bn_check_state", state, needed, at, len(RESIDENT)) == STATE
    if name in ("cortex-m7", "rv32imc", "xtensa"):
        assert called.call("bn_place_psram", state, size, at, 0, 1, 2) == APART


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0x88, 0xFF])
def test_a_prefix_may_hold_anything(byte: int) -> None:
    """Codes of −8 and exponents at both ends: no sanitizer may complain."""
    row_count = (PREFIX_SIZE - 4) // 12
    rows = bytes([byte] * 12) * row_count
    halves = bytes([byte] * 8 + [byte, byte ^ 0xFF, 0, 0]) * row_count
    assert len(rows) == PREFIX_SIZE - 4
    for data in (rows, halves):
        model = sealed(MODEL[: PREFIX + 4] + data)
        target("x86-64-sanitized").logits(model, [1, 2, 3], begin=True)


def test_a_prefix_that_changed_after_the_check() -> None:
    """As in a model in RAM: bn_begin finds out before it copies anything."""
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    for at, layout, value in (
        (48, "I", 0xFFFFFFFF),
        (48, "I", PREFIX_SIZE + 16),
        (44, "I", 0xFFFFFFF0),
        (36, "I", TOKENIZER_SIZE + 64),
        (PREFIX, "H", 0xFFFF),
        (PREFIX, "H", POSITIONS + 1),
    ):
        state, address = called.open(MODEL)
        state_size = called.call("bn_state_size", address, len(MODEL), 0)
        assert called.call("bn_begin", state, address) == POSITIONS
        ctypes.memmove(address + at, struct.pack("<" + layout, value), struct.calcsize(layout))
        assert called.call("bn_begin", state, address) == LAYOUT
        assert called.call("bn_check_state", state, state_size, address, len(MODEL)) == OK


def test_a_token_outside_the_vocabulary_changes_nothing() -> None:
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    state, at = called.open(MODEL)
    tokens = called.allocate(struct.pack("<2H", 1, VOCAB))
    assert called.call("bn_feed", state, at, tokens, 2, 0) == TOKEN
    assert called.call("bn_position", state, at) == 0


def test_arguments_are_checked() -> None:
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    state, at = called.open(MODEL)
    size = called.call("bn_state_size", at, len(MODEL), 0)
    assert called.call("bn_check", called.allocate(b"\0" + MODEL) + 1, len(MODEL)) == ALIGN
    assert called.call("bn_init", state + 1, size, at, len(MODEL), 0) == ALIGN
    assert called.call("bn_init", state, size - 1, at, len(MODEL), 0) == STATE
    assert called.call("bn_state_size", at, len(MODEL), 257) == RANGE
    assert called.call("bn_logits", state, at, state) == EMPTY
    assert called.call("bn_check_state", state, size - 1, at, len(MODEL)) == STATE
    other = make_model(BINARY)
    at_other = called.allocate(other)
    assert called.call("bn_feed", state, at_other, at, 1, 0) == STATE
    assert called.call("bn_check_state", state, size, at_other, len(other)) == STATE


@pytest.mark.parametrize("seed", range(60))
def test_a_state_that_was_tampered_with(seed: int) -> None:
    """check_state must see any change of what the decoder relies on: all but position and scratch."""
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    state, at = called.open(MODEL)
    size = called.call("bn_state_size", at, len(MODEL), 0)
    content = bytearray(called.read(state, size))
    where = random.Random(seed).randrange(140)  # up to and with the buffers' offsets
    content[where] ^= 0x81
    assert called.call("bn_check_state", called.allocate(bytes(content)), size, at, len(MODEL)) == STATE


@pytest.mark.parametrize("seed", range(30))
def test_a_snapshot_that_was_tampered_with(seed: int) -> None:
    """It is refused or restored to something that can go on, within its memory."""
    called = target("x86-64")
    assert isinstance(called, HostLibrary)
    state, at = called.open(MODEL)
    called.feed(state, at, [1, 2, 3])
    size = called.check("bn_save", state, at, 0, 0)
    snapshot = called.allocate(bytes(size))
    called.check("bn_save", state, at, snapshot, size)
    content = bytearray(called.read(snapshot, size))
    content[random.Random(seed).randrange(28)] ^= 0x40
    if called.call("bn_restore", state, at, called.allocate(bytes(content)), size) >= 0:
        called.feed(state, at, [1, 2, 3, 4, 5])
    state_size = called.call("bn_state_size", at, len(MODEL), 0)
    assert called.call("bn_check_state", state, state_size, at, len(MODEL)) == OK


def _fuzzed(rng: random.Random, bases: list[bytes]) -> bytes:
    model = bytearray(rng.choice(bases))
    kind = rng.randrange(5)
    if kind == 0:  # the header
        for _ in range(rng.randint(1, 3)):
            model[rng.randrange(4, 64)] = rng.choice(
                [0, 1, 2, 3, 4, 8, 16, 127, 128, 255, rng.randrange(256)]
            )
    elif kind == 1:  # the tables of tokenizer and labels
        tables = (64 + struct.unpack_from("<I", model, 32)[0] + 15) & ~15
        for _ in range(rng.randint(1, 4)):
            model[rng.randrange(tables, len(model))] = rng.choice([0, 1, 255, rng.randrange(256)])
    elif kind == 2:  # weights, norms and scales: often refused, else computed with
        for _ in range(rng.randint(1, 30)):
            at = rng.randrange(64, 64 + struct.unpack_from("<I", model, 32)[0])
            model[at] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
    elif kind == 3:  # the prefix
        at = len(model) - struct.unpack_from("<I", model, 48)[0]
        for _ in range(rng.randint(1, 8)):
            at_most = rng.choice([4, len(model) - at])
            model[at + rng.randrange(at_most)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    else:  # its length
        model = model[: rng.randrange(64, len(model))]
        struct.pack_into("<I", model, 8, len(model) - rng.randrange(2))
    return sealed(model)


def test_fuzzed_files_stay_within_their_memory() -> None:
    rng = random.Random(1)
    bases = [MODEL, make_model(BINARY, TERNARY, 4), make_model(TERNARY, BINARY, 8), RESIDENT + LAYERS_APART]
    records = [
        pack_run(
            _fuzzed(rng, bases),
            [rng.randrange(VOCAB + 1) for _ in range(2)],
            rng.choice([0, 0, 1, 3, 256, 257]),
            begin=rng.random() < 0.5,
        )
        for _ in range(2500)
    ]
    sanitized = target("x86-64-sanitized")
    assert isinstance(sanitized, Sanitized)
    sanitized.run(b"".join(records))


@pytest.mark.parametrize("exponent", [-64, -30, -16, 0, 16, 30, 64])
@pytest.mark.parametrize("mantissa", [16384, 32767])
def test_extreme_scales_and_norms_overflow_nowhere(exponent: int, mantissa: int) -> None:
    """All scales at the ends of their range, norms and weights at random: no sanitizer may complain."""
    records = []
    rng = np.random.default_rng(exponent + 100)
    for weight_type in (BINARY, TERNARY):
        model = make_model(weight_type)
        # 243: what a ternary byte stays below.
        weights = bytearray(rng.integers(0, 243, weights_end(model) - 64, np.uint8))
        for at in scale_offsets(weight_type):
            struct.pack_into("<Hh", weights, at - 64, mantissa, exponent)
        model = sealed(model[:64] + bytes(weights) + model[weights_end(model) :])
        assert result(model, tuple(range(6))) == OK
        records.append(pack_run(model, [0, 255, 263], 2))
    sanitized = target("x86-64-sanitized")
    assert isinstance(sanitized, Sanitized)
    sanitized.run(b"".join(records))


@pytest.mark.parametrize("head_type", [0, TERNARY])
def test_ternary_bytes_are_checked(head_type: int) -> None:
    model = make_model(TERNARY, head_type)
    matrices = scale_offsets(TERNARY)[1 : None if head_type else -1]
    for at in matrices:
        first = at + 4
        assert model[first] < 243
        assert result(sealed(model[:first] + bytes([242]) + model[first + 1 :])) == OK
        assert result(sealed(model[:first] + bytes([243]) + model[first + 1 :])) == LAYOUT


def scale_offsets(weight_type: int) -> list[int]:
    """Of the model of make_model, item by item as SPEC 1.2 lists them."""
    per_byte = 8 if weight_type == BINARY else 5
    found = [EMBEDDING]
    at = EMBEDDING + 4 + VOCAB * 16
    for _ in range(2):
        for name, rows, columns in (
            ("norm", 0, 16), ("q", 16, 16), ("k", 8, 16), ("v", 8, 16), ("norm", 0, 16), ("o", 16, 16),
            ("norm", 0, 16), ("gate", 24, 16), ("up", 24, 16), ("norm", 0, 24), ("down", 16, 24),
        ):  # fmt: skip
            if name == "norm":
                at += 2 * columns
            else:
                found.append(at)
                at += 4 + -(-columns // per_byte) * rows
    return [*found, at + 2 * 16]
