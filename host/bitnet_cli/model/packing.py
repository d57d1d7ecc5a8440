"""How the numbers of a `.bitnet` file lie in its bytes: weights, embedding codes, codes of the KV cache."""

import numpy as np
import numpy.typing as npt

from ..errors import BitnetError

BINARY, TERNARY = 1, 2
"""Weight types, as the header has them: ±1, or −1, 0 and 1."""

Int8 = npt.NDArray[np.int8]
UInt8 = npt.NDArray[np.uint8]

_COLUMNS_PER_BYTE = {BINARY: 8, TERNARY: 5}
_ROWS_PER_BLOCK = 4
_POWERS_OF_3 = np.array([1, 3, 9, 27, 81], np.uint8)

_CODES_PER_WORD = 8
_CODE_BIAS = 8


# --- weights: SPEC 1.2 ---


def packed_size(rows: int, columns: int, weight_type: int) -> int:
    """Return how many bytes pack_weights() makes of a matrix of this shape."""
    groups = -(-columns // _COLUMNS_PER_BYTE[weight_type])
    return _ROWS_PER_BLOCK * groups * -(-rows // _ROWS_PER_BLOCK)


def pack_weights(values: Int8, weight_type: int) -> bytes:
    """Pack int8[rows, columns] into blocks of 4 rows × groups of 8 (binary) or 5 (ternary) columns.

    Raises BitnetError for values that the weight type does not have.
    """
    allowed = [-1, 1] if weight_type == BINARY else [-1, 0, 1]
    if values.dtype != np.int8 or not np.isin(values, allowed).all():
        raise BitnetError(f"weights must be int8, each one of {allowed}")
    rows, columns = values.shape
    per_byte = _COLUMNS_PER_BYTE[weight_type]
    padding = ((0, -rows % _ROWS_PER_BLOCK), (0, -columns % per_byte))
    if weight_type == BINARY:
        digits = np.pad((values > 0).astype(np.uint8), padding)
        packed = np.packbits(digits, axis=1, bitorder="little")
    else:
        digits = np.pad((values + 1).astype(np.uint8), padding, constant_values=1)
        packed = _ternary_bytes(per_byte)[digits.reshape(len(digits), -1, per_byte) @ _POWERS_OF_3]
    blocks = packed.reshape(-1, _ROWS_PER_BLOCK, packed.shape[1])
    return blocks.transpose(0, 2, 1).tobytes()


def unpack_weights(data: bytes | memoryview, rows: int, columns: int, weight_type: int) -> Int8:
    """Unpack what pack_weights() packed; raises BitnetError for what it would not write."""
    per_byte = _COLUMNS_PER_BYTE[weight_type]
    groups = -(-columns // per_byte)
    blocks = np.frombuffer(data, np.uint8).reshape(-1, groups, _ROWS_PER_BLOCK)
    packed = np.ascontiguousarray(blocks.transpose(0, 2, 1)).reshape(-1, groups)
    values: Int8
    if weight_type == BINARY:
        bits = np.unpackbits(packed, axis=1, bitorder="little")
        values, filler = np.where(bits, 1, -1).astype(np.int8), -1
    else:
        if (packed >= 243).any():
            raise BitnetError("the model file is damaged: a ternary weight byte is above 242")
        ordered = np.argsort(_ternary_bytes(per_byte)).astype(np.uint8)[packed]
        digits = (ordered[:, :, None] // _POWERS_OF_3 % 3).astype(np.int8)
        values, filler = digits.reshape(len(packed), -1) - np.int8(1), 0
    if (values[rows:] != filler).any() or (values[:, columns:] != filler).any():
        raise BitnetError("the model file is damaged: the padding of a matrix is not empty")
    return values[:rows, :columns]


def _ternary_bytes(digits: int) -> UInt8:
    """Tabulate f_n of SPEC 1.2: uint8[3^n], at Σ d_j·3^j the byte that stands for digits d_0 … d_n−1."""
    if digits == 0:
        return np.zeros(1, np.uint8)
    rest = np.arange(3 ** (digits - 1), dtype=np.uint8)
    last_is_2 = 2 * 3 ** (digits - 1) + _ternary_bytes(digits - 1)
    return np.concatenate([2 * rest, 2 * rest + 1, last_is_2]).astype(np.uint8)


# --- the embedding: SPEC 1.2 ---


def embedding_limit(bits: int) -> int:
    """Return the largest embedding code of `bits` bits, 8 or 4: 127 or 7."""
    return (1 << (bits - 1)) - 1


def pack_embedding(codes: Int8, bits: int) -> bytes:
    """Pack int8[vocab_size, hidden_size] row by row, each row padded to whole words.

    Raises BitnetError for codes beyond embedding_limit(bits).
    """
    limit = embedding_limit(bits)
    if codes.dtype != np.int8 or (np.abs(codes.astype(np.int16)) > limit).any():
        raise BitnetError(f"embedding codes must be int8 within ±{limit}")
    per_byte = 8 // bits
    padding = -codes.shape[1] % (4 * per_byte)
    rows: UInt8 = np.pad(codes, ((0, 0), (0, padding))).view(np.uint8)
    if bits == 4:
        rows = (rows[:, 0::2] & 15 | (rows[:, 1::2] & 15) << 4).astype(np.uint8)
    return rows.tobytes()


def unpack_embedding(data: memoryview, vocab_size: int, hidden_size: int, bits: int) -> Int8:
    """Unpack what pack_embedding() packed; raises BitnetError for what it would not write."""
    rows: Int8 = np.frombuffer(data, np.int8).reshape(vocab_size, -1)
    if bits == 4:
        low_nibble = np.left_shift(rows, 4, dtype=np.int8) >> 4
        rows = np.stack([low_nibble, rows >> 4], axis=2).reshape(vocab_size, -1)
    codes = rows[:, :hidden_size]
    if (codes < -embedding_limit(bits)).any() or rows[:, hidden_size:].any():
        raise BitnetError("the model file is damaged: an embedding code is out of range")
    return codes


# --- codes of the KV cache: SPEC 1.6 ---


def cache_codes_size(head_dim: int) -> int:
    """Return the bytes that the codes of one head take at one position: whole words of 8 codes."""
    return 4 * -(-head_dim // _CODES_PER_WORD)


def pack_cache_codes(codes: Int8) -> UInt8:
    """Pack int8[…, head_dim] into uint8[…, bytes]: each code + 8, padded with codes 0 to whole words."""
    padding = -codes.shape[-1] % _CODES_PER_WORD
    nibbles = np.pad(codes, ((0, 0),) * (codes.ndim - 1) + ((0, padding),)).astype(np.uint8) + _CODE_BIAS & 15
    return (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).astype(np.uint8)


def unpack_cache_codes(packed: UInt8, head_dim: int) -> Int8:
    """Unpack what pack_cache_codes() packed; raises BitnetError if the padding is not code 0."""
    nibbles = np.stack([packed & 15, packed >> 4], axis=-1).astype(np.int8) - _CODE_BIAS
    codes = nibbles.reshape(*packed.shape[:-1], -1).astype(np.int8)
    if codes[..., head_dim:].any():
        raise BitnetError("the prefix has padding that is not code 0")
    return codes[..., :head_dim]
