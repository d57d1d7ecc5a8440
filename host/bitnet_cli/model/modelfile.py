"""The `.bitnet` file, section 1 of native/SPEC.md: its parts as dataclasses, written and read with checks."""

import json
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BitnetError
from .grammar import read_labels
from .packing import (
    BINARY,
    TERNARY,
    Int8,
    cache_codes_size,
    embedding_limit,
    pack_cache_codes,
    pack_embedding,
    pack_weights,
    packed_size,
    unpack_cache_codes,
    unpack_embedding,
    unpack_weights,
)
from .tokenizer import read_section

TIED = 0

_MAGIC = b"BITN"
_VERSION = 2
_HEADER = struct.Struct("<4sHHII HHHBBBBHBBBB5I I8s")
_LAYERS_APART = 1  # a flag
PSRAM_BURST = 32
"""The number of bytes in which layers that are apart are read."""
_PREFIX_HEADER = struct.Struct("<2H")
_SCALE = struct.Struct("<Hh")
_LIMITS = {
    "vocab_size": (1, 32768),
    "hidden_size": (8, 1024),
    "intermediate_size": (8, 4096),
    "num_layers": (1, 32),
    "num_heads": (1, 64),
    "num_kv_heads": (1, 64),
    "head_dim": (4, 64),
    "window": (1, 256),
}
_CHOICES = {
    "weight_type": (BINARY, TERNARY),
    "activation_bits": (8, 4, 2),
    "embedding_bits": (8, 4),
    "head_type": (TIED, BINARY, TERNARY),
}

Int16 = npt.NDArray[np.int16]
UInt32 = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model; raises BitnetError where SPEC 1.1 does not allow it."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int = 32
    weight_type: int = TERNARY
    activation_bits: int = 8
    embedding_bits: int = 4
    head_type: int = TIED

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise BitnetError(f"{name} is {getattr(self, name)}, it must be {low} to {high}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise BitnetError(f"{name} is {getattr(self, name)}, it must be one of {choices}")
        if self.num_heads % self.num_kv_heads:
            raise BitnetError(f"num_kv_heads ({self.num_kv_heads}) must divide num_heads ({self.num_heads})")
        if self.head_dim % 2:
            raise BitnetError(f"head_dim is {self.head_dim}, it must be even")
        if self.query_size > 1024:
            raise BitnetError(f"num_heads times head_dim is {self.query_size}, it must be at most 1024")

    @property
    def query_size(self) -> int:
        """Q, the width of all query heads."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """KV, the width of all key (or value) heads."""
        return self.num_kv_heads * self.head_dim

    @property
    def embedding_limit(self) -> int:
        """The largest embedding code: 127 or 7."""
        return embedding_limit(self.embedding_bits)


@dataclass(frozen=True)
class Scale:
    """m·2^e with 2^14 ≤ m < 2^15 and −64 ≤ e ≤ 64."""

    m: int
    e: int

    def __post_init__(self) -> None:
        if not (1 << 14 <= self.m < 1 << 15 and -64 <= self.e <= 64):
            raise BitnetError(f"the scale {self.m}·2^{self.e} is out of range")

    @classmethod
    def from_float(cls, x: float) -> "Scale":
        """Return the nearest scale to x > 0."""
        if not (math.isfinite(x) and x > 0):
            raise BitnetError(f"a scale must be a positive number, not {x}")
        fraction, exponent = math.frexp(x)
        m = round(fraction * 2**15)
        return cls(m, exponent - 15) if m < 1 << 15 else cls(m // 2, exponent - 14)

    def __float__(self) -> float:
        return math.ldexp(self.m, self.e)

    def to_bytes(self) -> bytes:
        return _SCALE.pack(self.m, self.e)


@dataclass(frozen=True)
class Matrix:
    """A scale and its codes, int8[rows, columns]: ±1, −1…1, or the embedding's −127…127 or −7…7."""

    scale: Scale
    values: Int8

    def pack(self, weight_type: int) -> bytes:
        """Return scale and packed weights, as SPEC 1.2 lays out a matrix."""
        return self.scale.to_bytes() + pack_weights(self.values, weight_type)

    @classmethod
    def unpack(cls, data: bytes | memoryview, rows: int, columns: int, weight_type: int) -> "Matrix":
        """Return the inverse of pack; data must have exactly its size."""
        if len(data) != matrix_size(rows, columns, weight_type):
            raise BitnetError(f"a {rows}×{columns} matrix does not take {len(data)} bytes")
        return cls(_read_scale(data), unpack_weights(data[_SCALE.size :], rows, columns, weight_type))


@dataclass(frozen=True)
class Layer:
    """One decoder layer; shapes as in SPEC 1.2."""

    attn_norm: Int16
    q: Matrix
    k: Matrix
    v: Matrix
    attn_sub_norm: Int16
    o: Matrix
    ffn_norm: Int16
    gate: Matrix
    up: Matrix
    ffn_sub_norm: Int16
    down: Matrix


@dataclass(frozen=True)
class Weights:
    """All weights; head is a scale alone if it is tied to the embedding, else a matrix [V, D]."""

    rope_step: UInt32
    embedding: Matrix
    layers: tuple[Layer, ...]
    final_norm: Int16
    head: Scale | Matrix


@dataclass(frozen=True)
class Prefix:
    """The KV cache after the fixed beginning of a prompt, P positions of all layers.

    Codes −7 … 7, int8[num_layers, P, num_kv_heads, head_dim]; exponents int8[num_layers, P, num_kv_heads].
    """

    k_codes: Int8
    v_codes: Int8
    k_exponents: Int8
    v_exponents: Int8

    @property
    def positions(self) -> int:
        """P, the number of positions."""
        return int(self.k_codes.shape[1])


@dataclass(frozen=True)
class ModelFile:
    """A `.bitnet` file, read; tokenizer and labels are their sections as they stand (may be empty)."""

    config: ModelConfig
    weights: Weights
    tokenizer: bytes
    labels: bytes
    metadata: dict[str, Any]
    prefix: Prefix | None
    crc32: int
    """The file's checksum, from its header, by which boards name their model."""


@dataclass(frozen=True)
class _Item:
    """One item of the weights: rows = 0 for a vector; group names the line it counts to in part_sizes."""

    group: str
    name: str
    rows: int
    columns: int
    size: int


def norm_factor(n: int) -> float:
    """Compute √(n·2^−t), t = ⌈log2 n⌉, which a norm over n values leaves for the next matrix's scale."""
    return math.sqrt(n / (1 << ceil_log2(n)))


def ceil_log2(n: int) -> int:
    """Compute ⌈log2 n⌉ of n ≥ 1."""
    return (n - 1).bit_length()


def rope_steps(head_dim: int, theta: float = 10000.0) -> UInt32:
    """Return uint32[head_dim / 2]: the angle each pair turns per position, in turns of 2^32."""
    turns = theta ** (-np.arange(0, head_dim, 2) / head_dim) / (2 * math.pi)
    return np.round(turns * 2.0**32).astype(np.uint32)


def matrix_size(rows: int, columns: int, weight_type: int) -> int:
    """Return bytes of a packed matrix with its scale."""
    return _SCALE.size + packed_size(rows, columns, weight_type)


def write(
    config: ModelConfig,
    weights: Weights,
    tokenizer_section: bytes,
    labels_section: bytes,
    metadata: dict[str, Any],
    prefix: Prefix | None = None,
) -> bytes:
    """Write the whole file. Raises BitnetError if weights or prefix do not fit the config."""
    text = json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    parts = [_pack_all_weights(config, weights), tokenizer_section, labels_section, text]
    parts.append(_pack_prefix(config, prefix) if prefix else b"")
    return _join(config, parts)


def _join(config: ModelConfig, parts: Sequence[bytes], flags: int = 0, layers_crc: int = 0) -> bytes:
    """Return the file of these parts."""
    body = b""
    for part in parts:
        body = _pad(body, 16) + part
    file_size = _HEADER.size + len(body)
    if file_size >= 1 << 32:
        raise BitnetError(f"the model would take {file_size} bytes, the format ends at 4 GiB")
    sizes = [len(part) for part in parts]
    fields = *_config_fields(config), *sizes, layers_crc
    header = _HEADER.pack(_MAGIC, _VERSION, flags, file_size, 0, *fields, b"")
    crc = zlib.crc32(header[16:] + body)
    return header[:12] + struct.pack("<I", crc) + header[16:] + body


def read(data: bytes) -> ModelFile:
    """Read and check a whole file; raises BitnetError. Norms and rope_step are views of data."""
    config, parts = _read_parts(data)
    weights, tokenizer, labels, metadata, prefix = parts
    _check_text_sections(config, bytes(tokenizer), bytes(labels))
    if prefix and not labels:
        raise BitnetError(
            "the model file is not sound: it stores the beginning of a template it has no labels for"
        )
    return ModelFile(
        config,
        _read_weights(config, weights),
        bytes(tokenizer),
        bytes(labels),
        _read_metadata(bytes(metadata)),
        _read_prefix(config, prefix) if prefix else None,
        _HEADER.unpack_from(data)[4],
    )


def _read_parts(data: bytes) -> tuple[ModelConfig, list[memoryview]]:
    """Return the config and the five parts, of which nothing is known yet but where they are."""
    config, sizes = _read_header(data)
    parts, end = [], _HEADER.size
    for size in sizes:
        start = _align(end, 16)
        if start + size > len(data) or any(data[end:start]):
            raise BitnetError("the model file is damaged: its parts do not add up to its size")
        end = start + size
        parts.append(memoryview(data)[start:end])
    if end != len(data):
        raise BitnetError("the model file is damaged: its parts do not add up to its size")
    return config, parts


def split(data: bytes) -> tuple[bytes, bytes]:
    """Split a model in two files, for PSRAM on pins: what stays in flash, and its layers (SPEC 1.7).

    Raises BitnetError if the file is damaged, or is such a resident file already; weights are not looked at.
    """
    config, parts = _read_parts(data)
    sizes = [item.size for item in _layout(config)]
    if len(parts[0]) != sum(sizes):
        raise BitnetError("the model file is damaged: the weights do not have the size its header implies")
    items = [bytes(item) for item in _cut(parts[0], sizes)]
    before, layers, after = items[:2], items[2:-2], items[-2:]
    apart = b"".join(_pad(b"".join(part), PSRAM_BURST) for part in _layer_parts(layers))
    resident = [b"".join(before + after), *map(bytes, parts[1:])]
    return _join(config, resident, _LAYERS_APART, zlib.crc32(apart)), apart


def _layer_parts(items: list[bytes]) -> Iterator[list[bytes]]:
    """Return the items of all layers by what is fetched at once: attention, gate and up, down."""
    names = _LAYER_ITEMS
    cuts = [names.index("ffn_norm"), names.index("ffn_sub_norm"), len(names)]
    for start in range(0, len(items), len(names)):
        for first, end in zip([0, *cuts], cuts, strict=False):
            yield items[start + first : start + end]


def _cut(data: memoryview, sizes: list[int]) -> Iterator[memoryview]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size


def part_sizes(data: bytes) -> dict[str, int]:
    """Return the bytes of each part of a file; `other` is header, rope table and padding, so all add up."""
    config, (_, tokenizer, labels, metadata, prefix) = _read_header(data)
    sizes = dict.fromkeys(("embedding", "attention", "ffn", "norms", "head"), 0)
    for item in _layout(config):
        if item.group in sizes:
            sizes[item.group] += item.size
    sizes |= {"tokenizer": tokenizer, "labels": labels, "metadata": metadata, "prefix": prefix}
    return sizes | {"other": len(data) - sum(sizes.values())}


# --- the layout of the weights ---


def _layout(config: ModelConfig) -> Iterator[_Item]:
    """Return every item of the weights in file order, with its padded size."""
    hidden, query, kv, inner = (
        config.hidden_size,
        config.query_size,
        config.kv_size,
        config.intermediate_size,
    )

    def norm(name: str, n: int) -> _Item:
        return _Item("norms", name, 0, n, _align(2 * n, 4))

    def matrix(
        group: str, name: str, rows: int, columns: int, weight_type: int = config.weight_type
    ) -> _Item:
        return _Item(group, name, rows, columns, matrix_size(rows, columns, weight_type))

    row_size = _align(-(-hidden * config.embedding_bits // 8), 4)
    yield _Item("rope", "rope_step", 0, config.head_dim // 2, 2 * config.head_dim)
    yield _Item(
        "embedding", "embedding", config.vocab_size, hidden, _SCALE.size + config.vocab_size * row_size
    )
    for _ in range(config.num_layers):
        yield norm("attn_norm", hidden)
        yield matrix("attention", "q", query, hidden)
        yield matrix("attention", "k", kv, hidden)
        yield matrix("attention", "v", kv, hidden)
        yield norm("attn_sub_norm", query)
        yield matrix("attention", "o", hidden, query)
        yield norm("ffn_norm", hidden)
        yield matrix("ffn", "gate", inner, hidden)
        yield matrix("ffn", "up", inner, hidden)
        yield norm("ffn_sub_norm", inner)
        yield matrix("ffn", "down", hidden, inner)
    yield norm("final_norm", hidden)
    if config.head_type == TIED:
        yield _Item("head", "head", 0, 0, _SCALE.size)
    else:
        yield matrix("head", "head", config.vocab_size, hidden, config.head_type)


_LAYER_ITEMS = tuple(Layer.__dataclass_fields__)


def _pack_all_weights(config: ModelConfig, weights: Weights) -> bytes:
    if len(weights.layers) != config.num_layers:
        raise BitnetError(f"there are {len(weights.layers)} layers, the config says {config.num_layers}")
    values: list[Any] = [weights.rope_step, weights.embedding]
    values += [getattr(layer, name) for layer in weights.layers for name in _LAYER_ITEMS]
    values += [weights.final_norm, weights.head]
    items = list(_layout(config))
    return b"".join(_pack_item(config, item, value) for item, value in zip(items, values, strict=True))


def _pack_item(config: ModelConfig, item: _Item, value: Any) -> bytes:
    if item.rows == 0 and item.name == "head":
        if not isinstance(value, Scale):
            raise BitnetError("a head tied to the embedding is a scale alone")
        return value.to_bytes()
    array = value.values if isinstance(value, Matrix) else value
    shape = (item.rows, item.columns) if item.rows else (item.columns,)
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise BitnetError(f"{item.name} has shape {getattr(array, 'shape', None)}, the config says {shape}")
    if item.name == "embedding":
        return _pad(value.scale.to_bytes() + pack_embedding(array, config.embedding_bits), 4)
    if item.rows:
        return bytes(value.pack(config.head_type if item.name == "head" else config.weight_type))
    dtype = np.uint32 if item.name == "rope_step" else np.int16
    if array.dtype != dtype:
        raise BitnetError(f"{item.name} has type {array.dtype}, it must be {np.dtype(dtype)}")
    return _pad(array.astype(array.dtype.newbyteorder("<")).tobytes(), 4)


def _read_weights(config: ModelConfig, data: memoryview) -> Weights:
    items = list(_layout(config))
    if len(data) != sum(item.size for item in items):
        raise BitnetError("the model file is damaged: the weights do not have the size its header implies")
    values: list[Any] = []
    position = 0
    for item in items:
        values.append(_read_item(config, item, data[position : position + item.size]))
        position += item.size
    per_layer = len(_LAYER_ITEMS)
    layers = tuple(
        Layer(*values[start : start + per_layer])
        for start in range(2, 2 + config.num_layers * per_layer, per_layer)
    )
    return Weights(values[0], values[1], layers, values[-2], values[-1])


def _read_item(config: ModelConfig, item: _Item, data: memoryview) -> Any:
    if item.name == "embedding":
        shape = (config.vocab_size, config.hidden_size)
        return Matrix(_read_scale(data), unpack_embedding(data[_SCALE.size :], *shape, config.embedding_bits))
    if item.rows:
        weight_type = config.head_type if item.name == "head" else config.weight_type
        return Matrix.unpack(data, item.rows, item.columns, weight_type)
    if item.name == "head":
        return _read_scale(data)
    if item.name == "rope_step":
        return np.frombuffer(data, "<u4")
    if any(data[2 * item.columns :]):
        raise BitnetError(f"the model file is damaged: the padding of {item.name} is not zero")
    return np.frombuffer(data, "<i2", item.columns)


# --- the prefix: rows of the KV cache ---


def cache_row_size(config: ModelConfig) -> int:
    """Return bytes of one position of one layer in the KV cache."""
    return config.num_kv_heads * (4 + 2 * cache_codes_size(config.head_dim))


def _pack_rows(prefix: Prefix) -> bytes:
    """Return the cache rows as SPEC 1.6 lays them out; _unpack_rows is the inverse."""
    exponents = -np.stack([prefix.k_exponents, prefix.v_exponents], axis=-1).view(np.uint8)
    parts = (
        np.pad(exponents, ((0, 0),) * 3 + ((0, 2),)),
        pack_cache_codes(prefix.k_codes),
        pack_cache_codes(prefix.v_codes),
    )
    return np.concatenate(parts, axis=-1).tobytes()


def _unpack_rows(config: ModelConfig, data: memoryview, positions: int) -> Prefix:
    heads, code_size = config.num_kv_heads, cache_codes_size(config.head_dim)
    parts = np.frombuffer(data, np.uint8).reshape(config.num_layers, positions, heads, -1)
    exponents, padding, k, v = np.split(parts, [2, 4, 4 + code_size], axis=-1)
    if padding.any():
        raise BitnetError("the prefix has padding that is not zero")
    k_exponents, v_exponents = np.moveaxis((-exponents).view(np.int8), -1, 0)
    k_codes, v_codes = (unpack_cache_codes(codes, config.head_dim) for codes in (k, v))
    return Prefix(k_codes, v_codes, k_exponents, v_exponents)


def _check_prefix(config: ModelConfig, prefix: Prefix) -> None:
    shape = (config.num_layers, prefix.positions, config.num_kv_heads)
    for codes, exponents in ((prefix.k_codes, prefix.k_exponents), (prefix.v_codes, prefix.v_exponents)):
        if codes.shape != (*shape, config.head_dim) or exponents.shape != shape:
            raise BitnetError("the prefix does not have the shape of the model's KV cache")
        if codes.dtype != np.int8 or exponents.dtype != np.int8:
            raise BitnetError("codes and exponents of the prefix must be int8")
    if not 1 <= prefix.positions <= config.window:
        raise BitnetError(f"the prefix has {prefix.positions} positions, it must be 1 to {config.window}")
    if min(prefix.k_codes.min(), prefix.v_codes.min()) < -7 or prefix.v_exponents.min() < 0:
        raise BitnetError("the prefix has a code or an exponent that no token leaves")


def _pack_prefix(config: ModelConfig, prefix: Prefix) -> bytes:
    _check_prefix(config, prefix)
    return _PREFIX_HEADER.pack(prefix.positions, 0) + _pack_rows(prefix)


def _read_prefix(config: ModelConfig, data: memoryview) -> Prefix:
    positions, reserved = _PREFIX_HEADER.unpack_from(data.tobytes().ljust(_PREFIX_HEADER.size, b"\0"))
    rows = data[_PREFIX_HEADER.size :]
    if positions == 0 or reserved or len(rows) != config.num_layers * positions * cache_row_size(config):
        raise BitnetError("the model file is damaged: its prefix does not have the size it claims")
    prefix = _unpack_rows(config, rows, positions)
    _check_prefix(config, prefix)
    return prefix


# --- header and metadata ---


def _config_fields(config: ModelConfig) -> tuple[int, ...]:
    """Return the header's config fields in file order, which is the order of the dataclass."""
    return tuple(getattr(config, name) for name in ModelConfig.__dataclass_fields__)


def _read_header(data: bytes) -> tuple[ModelConfig, tuple[int, ...]]:
    """Return the config and the sizes of the five parts, after all checks of SPEC 1.1."""
    if len(data) < _HEADER.size:
        raise BitnetError(f"the model file is truncated: {len(data)} bytes do not hold its 64-byte header")
    magic, version, flags, file_size, crc, *fields, layers_crc, reserved = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise BitnetError("this is not a .bitnet model: it does not begin with BITN")
    if version != _VERSION:
        raise BitnetError(f"the model file has version {version}, only {_VERSION} is known; export it again")
    if len(data) < file_size:
        raise BitnetError(
            f"the model file is truncated: it should have {file_size} bytes, there are {len(data)}"
        )
    if len(data) > file_size:
        raise BitnetError(
            f"the model file is larger than it claims: {len(data)} bytes instead of {file_size}"
        )
    if zlib.crc32(data[16:]) != crc:
        raise BitnetError("the model file is damaged: its checksum is wrong; copy or export it again")
    if flags == _LAYERS_APART:
        raise BitnetError("the model file has no layers: they are in a file of their own; use the whole file")
    if flags or layers_crc or any(reserved):
        raise BitnetError("the model file is not sound: reserved header fields are not 0")
    return ModelConfig(*fields[:12]), tuple(fields[12:])


def _check_text_sections(config: ModelConfig, tokenizer: bytes, labels: bytes) -> None:
    texts = read_section(tokenizer).texts if tokenizer else []
    if tokenizer and len(texts) != config.vocab_size:
        raise BitnetError(f"the tokenizer has {len(texts)} tokens, the model has {config.vocab_size}")
    if labels:
        read_labels(labels, texts)


def _read_metadata(text: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(text or b"{}")
    except ValueError as error:
        raise BitnetError(f"the model's metadata is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise BitnetError("the model's metadata is not a JSON object")
    return metadata


def _read_scale(data: bytes | memoryview) -> Scale:
    return Scale(*_SCALE.unpack_from(data))


def _align(offset: int, to: int) -> int:
    return -(-offset // to) * to


def _pad(data: bytes, to: int) -> bytes:
    return data.ljust(_align(len(data), to), b"\0")
