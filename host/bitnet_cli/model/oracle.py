"""The arithmetic of native/SPEC.md, section 2, in NumPy: the same logits as the C core, to the last bit.

Read it beside the SPEC: names and the order of the steps are the same. Every operation works on the last axis
and takes any number of leading axes, so that one call handles a whole prompt or thousands of short sequences.
Values are int64 here, though the SPEC bounds them to 32 bits; `check_bounds` asserts every bound it states.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import BitnetError
from . import modelfile
from .modelfile import Matrix, ModelConfig, Prefix, Scale

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

_INT32 = (1 << 31) - 1
_KEY_LIMIT = 7  # L of the cached keys and values: int4
_LARGEST_CODE = 127
_FEW_POSITIONS = 16  # with more in the cache, weights are halved
_NO_PROBABILITY = 512  # distance, with 6 fraction bits, from which on a position has no probability
_LOG2_E = (23637, -14)
_POSITIONS_AT_ONCE = 128  # longer inputs are fed in pieces, to bound the memory of the attention
_TOKENS_AT_ONCE = 512  # of a batch; more would not stay in the processor's cache


class Scales(NamedTuple):
    """Scales m·2^e, one per row; m = 0 stands for a row of zeros."""

    m: Int64
    e: Int64

    def column(self) -> "Scales":
        """Return the scales with one axis more, to be broadcast."""
        return Scales(self.m[..., None], self.e[..., None])


class Choice(NamedTuple):
    """Tokens, best first, and their probabilities in ‰ among those that were allowed."""

    ids: list[int]
    permille: list[int]


class Logits(NamedTuple):
    """int32[rows, V] and their scale per row."""

    values: Int32
    scale: Scales


class Bounds:
    """Asserts the SPEC's bounds, or does nothing."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, x: Int64, limit: int, low: int | None = None) -> Int64:
        """x, after checking −limit ≤ x ≤ limit (low ≤ x if given)."""
        if self.enabled and x.size:
            low = -limit if low is None else low
            assert low <= x.min() and x.max() <= limit, f"{x.min()} … {x.max()} is not in {low} … {limit}"
        return x


# --- the operations of section 2 ---


def bitlen(a: Int64) -> Int64:
    """Return the bit length of a ≥ 0; exact below 2^53."""
    return np.frexp(a.astype(np.float64))[1].astype(np.int64)


def clamp(x: Int64, limit: int) -> Int64:
    """Clamp x to ±limit; np.clip would be slower on small arrays."""
    return np.minimum(np.maximum(x, -limit), limit)


def rshr(x: Int64, s: Int64) -> Int64:
    """Compute RSHR(x, s), s ≥ 0."""
    s = np.where(s > 30, 62, s)  # rounds every x to 0
    return (x + ((1 << s) >> 1)) >> s


def shift(x: Int64, s: Int64) -> Int64:
    """Compute SHIFT(x, s)."""
    return rshr(x, np.maximum(s, 0))


def recip(u: Int64) -> Int64:
    """Compute RECIP(u)."""
    return np.minimum((1 << 30) // u, (1 << 15) - 1)


def rsqrt(v: Int64) -> Int64:
    """Compute RSQRT(v)."""
    a = v >> 16
    r: Int64 = 43300 - ((a * (51900 - ((25200 * a) >> 16))) >> 16)
    for _ in range(2):
        r = r + ((r * (((1 << 30) - a * ((r * r) >> 14)) >> 15)) >> 16)
    return np.maximum(r, 1 << 14)


def mul(a: Scales, b: Scales) -> Scales:
    """Compute MUL(a, b)."""
    p = a.m * b.m
    n = np.where(p >= 1 << 29, 15, 14)
    return Scales(p >> n, np.where(p == 0, 0, a.e + b.e + n))


def attention_weight(d: Int64) -> Int64:
    """Compute PROBABILITY(d): 2^−d in Q8, below 1, for d ≥ 0 with 6 fraction bits."""
    probability = np.minimum(rshr(exp2(np.minimum(d, _NO_PROBABILITY) << 2), np.array(7)), 255)
    return np.where(d < _NO_PROBABILITY, probability, 0)


def exp2(d: Int64) -> Int64:
    """Compute EXP2(d): 2^−d in Q15, d ≥ 0 with 8 fraction bits."""
    n, f = d >> 8, d & 255
    return np.where(n > 14, 0, (32768 - ((f * (5502 - ((1406 * f) >> 8))) >> 6)) >> np.minimum(n, 14))


def sin(phi: Int64) -> Int64:
    """Compute SIN(φ) in Q14, φ a u32 with 2^32 one turn."""
    u = (phi >> 15) & 32767
    u = np.where(phi >> 30 & 1, 32768 - u, u)
    v = (u * u) >> 15
    w = 10543 - ((v * 1191) >> 15)
    w = 25736 - ((v * w) >> 15)
    r = (u * w + (1 << 14)) >> 15
    return np.where(phi >> 31 & 1, -r, r)


def cos(phi: Int64) -> Int64:
    """Compute COS(φ)."""
    return sin((phi + (1 << 30)) & 0xFFFFFFFF)


def mag(x: Int64) -> Int64:
    """Compute MAG(x), one per row; keeps the axis."""
    m: Int64 = (x ^ (x >> 63)).max(axis=-1, keepdims=True)
    return m


def normalize(x: Int64, b: int, bounds: Bounds) -> tuple[Int64, Int64]:
    """Compute NORMALIZE(x, b) → x, s; s has one entry per row and keeps the axis."""
    a = mag(bounds(x, _INT32))
    s = np.where(a == 0, 0, bitlen(a) - b)
    return bounds((x << np.maximum(-s, 0)) >> np.maximum(s, 0), 1 << b), s


def norm_quant(x: Int64, gamma: Int64, bits: int, bounds: Bounds) -> tuple[Int64, Scales]:
    """Compute NORM_QUANT(x, γ, bits) → q, R."""
    limit = (1 << (bits - 1)) - 1
    t = modelfile.ceil_log2(x.shape[-1])
    y, _ = normalize(x, (31 - t) // 2, bounds)
    s = bounds((y * y).sum(axis=-1), 1 << 31) >> (t & 1)
    zero = s == 0
    s = np.where(zero, 1, s)
    y = bounds(y * gamma, 1 << 30)
    m = np.abs(y).max(axis=-1)
    e = np.maximum(0, bitlen(m) - (bits - 1))
    q = clamp(rshr(y, e[..., None]), limit)
    k = (32 - bitlen(s)) // 2
    r = bounds(rsqrt(bounds(s << 2 * k, (1 << 32) - 1, low=1 << 30)), (1 << 15) - 1, low=1 << 14)
    return q, Scales(np.where(zero, 0, r), np.where(zero, 0, k - 30 + e + t // 2))


def bitlinear(q: Int64, weights: Float32, bounds: Bounds) -> Int64:
    """Compute BITLINEAR(q, W); weights are float32[N, R]. Exact: every partial sum is below 2^24."""
    return bounds((q.astype(np.float32) @ weights).astype(np.int64), (1 << 19) - 1)


def requant(acc: Int64, c: Scales, fraction_bits: int, columns: int, bounds: Bounds) -> Int64:
    """Compute REQUANT(acc, C, f) of the products of a matrix with so many columns."""
    c = c.column()
    s = max(0, (_LARGEST_CODE * columns).bit_length() - 15)
    products = bounds(acc * (c.m >> s), (1 << 30) - 1)
    return shift(products, -(c.e + s + fraction_bits))


def add(x: Int64, out: Int64) -> Int64:
    """Compute ADD to the residual stream."""
    total: Int64 = np.minimum(np.maximum(x + out, -1 << 29), (1 << 29) - 1)
    return total


def rope(x: Int64, cosine: Int64, sine: Int64, bounds: Bounds) -> Int64:
    """Compute ROPE(x, c, n) on x [..., heads, d], with the angles' [..., 1, d/2]."""
    a, b = np.split(bounds(x, 1 << 15), 2, axis=-1)
    turned = a * cosine - b * sine, a * sine + b * cosine
    return bounds(np.concatenate(turned, axis=-1), _INT32)


def _upper_halves(x: Float32) -> Float32:
    """Move, in each 8 elements of the last axis, elements 4 to 7 to the places of 0 to 3; zeros behind."""
    padded = np.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, -x.shape[-1] % 8),))
    words = padded.reshape(*x.shape[:-1], -1, 2, 4)
    moved = np.stack([words[..., 1, :], np.zeros_like(words[..., 1, :])], axis=-2)
    return moved.reshape(padded.shape)[..., : x.shape[-1]]


def head_quant(x: Int64, limit: int) -> tuple[Int64, Int64]:
    """Compute HEAD_QUANT(x, L) → codes, e; e has one entry per head."""
    e = np.maximum(0, bitlen(mag(x)[..., 0]) - limit.bit_length())
    return clamp(rshr(x, e[..., None]), limit), e


# --- the model ---


@dataclass
class _Linear:
    """A matrix as bitlinear() takes it: float32[N, R]."""

    weights: Float32
    scale: Scales

    @classmethod
    def of(cls, matrix: Matrix) -> "_Linear":
        return cls(np.ascontiguousarray(matrix.values.T, np.float32), _scales(matrix.scale))


def product(q: Int64, r: Scales, matrix: _Linear, fraction_bits: int, bounds: Bounds) -> Int64:
    """Compute REQUANT(BITLINEAR(q, W), MUL(R, W.scale), f)."""
    acc = bitlinear(q, matrix.weights, bounds)
    return requant(acc, mul(r, matrix.scale), fraction_bits, q.shape[-1], bounds)


class _Layer:
    """One layer's weights, unpacked once."""

    def __init__(self, layer: modelfile.Layer) -> None:
        self.q, self.k, self.v, self.o = (_Linear.of(w) for w in (layer.q, layer.k, layer.v, layer.o))
        self.gate, self.up, self.down = (_Linear.of(w) for w in (layer.gate, layer.up, layer.down))
        self.attn_norm = layer.attn_norm.astype(np.int64)
        self.attn_sub_norm = layer.attn_sub_norm.astype(np.int64)
        self.ffn_norm = layer.ffn_norm.astype(np.int64)
        self.ffn_sub_norm = layer.ffn_sub_norm.astype(np.int64)


class _Cache:
    """Keys and values of one layer: codes [B, K, positions, d] and exponents [B, K, positions]."""

    def __init__(self, batch: int, config: ModelConfig) -> None:
        heads, dim = config.num_kv_heads, config.head_dim
        self.k_codes = np.zeros((batch, heads, 0, dim), np.float32)
        self.v_codes = np.zeros((batch, heads, 0, dim), np.float32)
        self.k_exponents = np.zeros((batch, heads, 0), np.int64)
        self.v_exponents = np.zeros((batch, heads, 0), np.int64)

    def enter(self, k: tuple[Int64, Int64], v: tuple[Int64, Int64]) -> None:
        """Append codes [B, T, K, d] and exponents [B, T, K]."""
        for name, (codes, exponents) in (("k", k), ("v", v)):
            old_codes, old_exponents = getattr(self, f"{name}_codes"), getattr(self, f"{name}_exponents")
            new_codes, new_exponents = codes.swapaxes(1, 2).astype(np.float32), exponents.swapaxes(1, 2)
            setattr(self, f"{name}_codes", np.concatenate([old_codes, new_codes], axis=2))
            setattr(self, f"{name}_exponents", np.concatenate([old_exponents, new_exponents], axis=2))

    @classmethod
    def of(cls, prefix: Prefix, layer: int, config: ModelConfig) -> "_Cache":
        """Make the cache of one sequence from one layer's rows of a prefix."""
        cache = cls(1, config)
        k, v = (
            (codes[layer, None].astype(np.int64), exponents[layer, None].astype(np.int64))
            for codes, exponents in (
                (prefix.k_codes, prefix.k_exponents),
                (prefix.v_codes, prefix.v_exponents),
            )
        )
        cache.enter(k, v)
        return cache

    def drop_all_but(self, window: int) -> None:
        for name in ("k_codes", "v_codes", "k_exponents", "v_exponents"):
            setattr(self, name, getattr(self, name)[:, :, -window:])


class Oracle:
    """A model and the state of one sequence; `window` = 0 is the model's own. BitnetError on bad input."""

    def __init__(self, model: bytes, window: int = 0, check_bounds: bool = False) -> None:
        file = modelfile.read(model)
        weights = file.weights
        if not 0 <= window <= 256:
            raise BitnetError(f"window is {window}, it must be 1 to 256, or 0 for the model's own")
        self.config = file.config
        self.window = window or file.config.window
        self.bounds = Bounds(check_bounds)
        self._rope_step = weights.rope_step.astype(np.uint32)
        self._embedding = weights.embedding.values.astype(np.int64)
        self._embedding_scale = weights.embedding.scale
        self._layers = [_Layer(layer) for layer in weights.layers]
        self._final_norm = weights.final_norm.astype(np.int64)
        self._head = _Linear.of(weights.head if isinstance(weights.head, Matrix) else weights.embedding)
        self._head.scale = _scales(weights.head if isinstance(weights.head, Scale) else weights.head.scale)
        self._prefix = file.prefix
        self.reset()

    def reset(self) -> None:
        """Go back to position 0 and an empty cache."""
        self.position = 0
        self._caches = [_Cache(1, self.config) for _ in self._layers]
        self._x: Int64 | None = None

    def begin(self) -> int:
        """Go to the state after the file's prefix; return the position.

        It is 0, with an empty cache, if there is no prefix or if it is longer than the window. There are no
        logits before the next token.
        """
        self.reset()
        if self._prefix is not None and self._prefix.positions <= self.window:
            self.position = self._prefix.positions
            self._caches = [_Cache.of(self._prefix, i, self.config) for i in range(len(self._layers))]
        return self.position

    def prefix(self) -> Prefix:
        """Return the cache of the tokens fed since the last reset, as a file stores it; all must fit."""
        if not 1 <= self.position <= self.window:
            raise BitnetError(f"a prefix has 1 to {self.window} positions, not {self.position}")
        names = ("k_codes", "v_codes", "k_exponents", "v_exponents")
        arrays = (np.stack([getattr(cache, name)[0] for cache in self._caches]) for name in names)
        return Prefix(*(np.ascontiguousarray(a.swapaxes(1, 2), np.int8) for a in arrays))

    def feed(self, tokens: Sequence[int]) -> None:
        """Run the tokens through the model, as if one after the other."""
        ids = self._checked(tokens)
        for start in range(0, len(ids), _POSITIONS_AT_ONCE):
            piece = ids[None, start : start + _POSITIONS_AT_ONCE]
            self._x = self._forward(piece, self._caches, self.position)[:, -1]
            self.position = (self.position + piece.shape[1]) % (1 << 32)

    def logits(self) -> Int32:
        """Return the logits int32[V] after the last token fed."""
        values: Int32 = self._last_logits().values[0]
        return values

    def top_k(self, allowed: bytes, k: int) -> Choice:
        """Return the best k of the tokens whose bit is set in `allowed` (V bits, LSB first)."""
        bits = np.unpackbits(np.frombuffer(allowed, np.uint8), bitorder="little")
        if len(bits) < self.config.vocab_size:
            raise BitnetError(
                f"the mask holds {len(bits)} bits, the model has {self.config.vocab_size} tokens"
            )
        last = self._last_logits()
        ids = np.flatnonzero(bits[: self.config.vocab_size])
        return choose(last.values[0], Scales(last.scale.m[0], last.scale.e[0]), ids, k)

    def batch_logits(
        self, sequences: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]
    ) -> list[Logits]:
        """Return logits of many sequences, each from position 0, at its listed positions; the state stays."""
        ids = [self._checked(sequence) for sequence in sequences]
        results: list[Logits | None] = [None] * len(ids)
        for members in _batches([len(sequence) for sequence in ids]):
            # Positions look back only, so what pads the shorter ones on the right changes nothing.
            padded = np.zeros((len(members), max(len(ids[i]) for i in members)), np.int64)
            for row, i in enumerate(members):
                padded[row, : len(ids[i])] = ids[i]
            caches = [_Cache(len(members), self.config) for _ in self._layers]
            x = self._forward(padded, caches, 0)
            for row, i in enumerate(members):
                if not all(0 <= p < len(ids[i]) for p in positions[i]):
                    raise BitnetError(f"sequence {i} has no such positions: {list(positions[i])}")
                results[i] = self._logits_of(x[row, list(positions[i])])
        return [result for result in results if result is not None]

    def _checked(self, tokens: Sequence[int]) -> Int64:
        ids = np.asarray(tokens, np.int64).reshape(-1)
        if ids.size and not 0 <= ids.min() <= ids.max() < self.config.vocab_size:
            raise BitnetError(f"a token is not below the vocabulary's size, {self.config.vocab_size}")
        return ids

    def _last_logits(self) -> Logits:
        if self._x is None:
            raise BitnetError("there are no logits before the first token")
        return self._logits_of(self._x)

    # --- section 2.1 ---

    def _forward(self, tokens: Int64, caches: list[_Cache], position: int) -> Int64:
        """Do steps 1 and 2 for tokens [B, T] from `position` on; return the residual stream [B, T, D]."""
        scale = self._embedding_scale
        x = shift(self._embedding[tokens] * scale.m, np.array(-(scale.e + 16)))
        pos = np.arange(position, position + tokens.shape[1], dtype=np.uint64).astype(np.uint32)
        phi = (pos[:, None, None] * self._rope_step).astype(np.int64)  # [T, 1, d/2]; wraps at 2^32
        angles = cos(phi), sin(phi)
        for layer, cache in zip(self._layers, caches, strict=True):
            x = self._attention(x, layer, cache, angles)
            x = self._ffn(x, layer)
            cache.drop_all_but(self.window)
        return x

    def _attention(self, x: Int64, layer: _Layer, cache: _Cache, angles: tuple[Int64, Int64]) -> Int64:
        """Do steps 2.1 to 2.6."""
        config, bounds = self.config, self.bounds
        q8, r = norm_quant(x, layer.attn_norm, config.activation_bits, bounds)
        query, c_q = bitlinear(q8, layer.q.weights, bounds), mul(r, layer.q.scale)
        k, s_k = normalize(product(q8, r, layer.k, 12, bounds), 15, bounds)
        v = product(q8, r, layer.v, 12, bounds)
        down = max(0, (_LARGEST_CODE * config.hidden_size).bit_length() - 15)
        cosine, sine = (angle * c_q.m[..., None, None] >> 15 for angle in angles)
        query_limit = 127 if config.head_dim <= 32 else 63
        q_codes, e_q = head_quant(rope(self._heads(query >> down), cosine, sine, bounds), query_limit)
        k_codes, e_k = head_quant(rope(self._heads(k), *angles, bounds), _KEY_LIMIT)
        v_codes, e_v = head_quant(self._heads(v), _KEY_LIMIT)
        cache.enter((k_codes, e_k + s_k - 14), (v_codes, e_v))
        o = self._attend(q_codes, e_q + c_q.e[..., None] + down - 5, cache)
        q8, r = norm_quant(o, layer.attn_sub_norm, config.activation_bits, bounds)
        return add(x, product(q8, r, layer.o, 16, bounds))

    def _heads(self, x: Int64) -> Int64:
        """Split [..., heads·d] into [..., heads, d]."""
        return x.reshape(*x.shape[:-1], -1, self.config.head_dim)

    def _attend(self, q_codes: Int64, e_q: Int64, cache: _Cache) -> Int64:
        """Do steps 2.5 and 2.6 up to its norm: codes [B, T, H, d] and exponents [B, T, H] → o [B, T, Q].

        Inside, the axes are [B, kv head, T, query head of that kv head, position in the cache or d].
        """
        bounds = self.bounds
        batch, length, heads, dim = q_codes.shape
        groups = (batch, length, self.config.num_kv_heads, heads // self.config.num_kv_heads)
        queries = q_codes.reshape(*groups, dim).transpose(0, 2, 1, 3, 4).astype(np.float32)
        e_q = e_q.reshape(groups).transpose(0, 2, 1, 3)[..., None]
        e_k, e_v = cache.k_exponents[:, :, None, None, :], cache.v_exponents[:, :, None, None, :]
        visible = self._visible(length, cache.k_codes.shape[2])

        keys = cache.k_codes[:, :, None].swapaxes(-1, -2)
        dot = bounds((queries @ keys).astype(np.int64), (1 << 15) - 1)
        rest = bounds((_upper_halves(queries) @ (keys + 8)).astype(np.int64), (1 << 15) - 1)
        y = bounds((1 << 15) - (dot << 16) - rest, _INT32) >> np.minimum(31, 16 - (e_q + e_k) & 255)
        least = np.where(visible, y, 1 << 40).min(axis=-1, keepdims=True)
        p = np.where(visible, attention_weight(np.where(visible, y - least, 0)), 0)
        e_max = np.where(visible, e_v, 0).max(axis=-1, keepdims=True)  # Ev; exponents of v are never negative
        half = (visible.sum(axis=-1, keepdims=True) > _FEW_POSITIONS).astype(np.int64)  # κ
        w = rshr(p, np.maximum(e_max - e_v + half, 0))
        values = cache.v_codes[:, :, None]
        o = bounds((w.astype(np.float32) @ values).astype(np.int64), 7 << 15)

        p_sum = bounds(p.sum(axis=-1, keepdims=True), (1 << 16) - 1, low=255)
        b = bitlen(p_sum)
        r = recip(bounds(p_sum << (16 - b), (1 << 16) - 1, low=1 << 15))
        c = np.maximum(0, b - half - 13)
        o = bounds(bounds((o >> c) * r, _INT32) >> (b - half - 6 - c), 1 << 23)

        e = e_max.max(axis=1, keepdims=True)  # E
        aligned: Int64 = o >> np.minimum(31, e - e_max)
        return aligned.transpose(0, 2, 1, 3, 4).reshape(batch, length, -1)

    def _visible(self, length: int, cached: int) -> npt.NDArray[np.bool_]:
        """Return bool[T, 1, cached]: which positions each of the last `length` may attend to."""
        last = np.arange(cached - length, cached)[:, None, None]
        t = np.arange(cached)
        return (t <= last) & (t > last - self.window)

    def _ffn(self, x: Int64, layer: _Layer) -> Int64:
        """Return step 2.7."""
        bits, bounds = self.config.activation_bits, self.bounds
        q8, _ = norm_quant(x, layer.ffn_norm, bits, bounds)
        g = np.maximum(0, bitlinear(q8, layer.gate.weights, bounds))
        u = bitlinear(q8, layer.up.weights, bounds)
        b = bitlen(g.max(axis=-1, keepdims=True))
        g, b = g >> np.maximum(0, b - 16), np.minimum(b, 16)
        down = np.maximum(0, 2 * b + (_LARGEST_CODE * x.shape[-1]).bit_length() - 31)
        h = bounds((g * g >> down) * u, _INT32)
        q8, r = norm_quant(h, layer.ffn_sub_norm, bits, bounds)
        return add(x, product(q8, r, layer.down, 16, bounds))

    def _logits_of(self, x: Int64) -> Logits:
        """Return step 3 for the rows of x [rows, D]."""
        q8, r = norm_quant(x, self._final_norm, 8, self.bounds)
        logits = (q8.astype(np.float32) @ self._head.weights).astype(np.int64)
        return Logits(self.bounds(logits, (1 << 25) - 1).astype(np.int32), mul(r, self._head.scale))


def store_prefix(model: bytes, tokens: Sequence[int]) -> bytes:
    """Store the KV cache after these tokens, the template's beginning, in a file as its prefix.

    A beginning that is longer than the model's window has no prefix: the file is then stored without one.
    """
    file = modelfile.read(model)
    prefix = None
    if len(tokens) <= file.config.window:
        oracle = Oracle(model)
        oracle.feed(tokens)
        prefix = oracle.prefix()
    return modelfile.write(file.config, file.weights, file.tokenizer, file.labels, file.metadata, prefix)


def choose(logits: Int32, c: Scales, ids: npt.NDArray[np.intp], k: int) -> Choice:
    """Choose the best k of the allowed ids (ascending) by logits int32[V] of scale c (section 2.2)."""
    if len(ids) == 0:
        return Choice([], [])
    allowed = logits[ids].astype(np.int64)
    delta = allowed.max() - allowed
    b = mul(c, Scales(*(np.array(part, np.int64) for part in _LOG2_E)))
    p = np.maximum(0, bitlen(delta) - 16)
    shift_by = -(b.e + 8) - p
    z = np.where(
        shift_by >= 0,
        ((delta >> p) * b.m) >> clamp(np.maximum(shift_by, 0), 31),
        np.where(delta > 0, 1 << 30, 0),
    )
    weights = exp2(z if b.m else np.zeros_like(z))
    best = np.argsort(-allowed, kind="stable")[: max(k, 0)]
    permille = 1000 * weights[best] // weights.sum()
    return Choice([int(i) for i in ids[best]], [int(value) for value in permille])


def _scales(scale: Scale) -> Scales:
    return Scales(np.array(scale.m, np.int64), np.array(scale.e, np.int64))


def _batches(lengths: list[int]) -> Iterator[list[int]]:
    """Return indices in groups of similar lengths, each of a bounded number of padded tokens."""
    members: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if members and (len(members) + 1) * lengths[i] > _TOKENS_AT_ONCE:
            yield members
            members = []
        members.append(i)
    if members:
        yield members
