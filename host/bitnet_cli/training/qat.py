"""The decoder in PyTorch for quantization-aware training: the arithmetic of native/SPEC.md in the loop.

Values are real numbers that the integers stand for; rounding passes gradients straight through. Modules have
the names of Hugging Face's BitNet, so `state_dict()` is a checkpoint in its layout.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.packing import BINARY
from .recipe import Shape

_KV_LEVELS_LOG2 = 2  # int4: codes -7..7, the greatest in 4..7
_Q_LEVELS_LOG2 = 6
_EPS = 1e-9


def straight_through(x: Tensor, quantized: Tensor) -> Tensor:
    """Return `quantized` in the forward pass, with the gradient of `x` in the backward pass."""
    return x + (quantized - x).detach()


def quantize_activations(x: Tensor, levels_log2: int) -> Tensor:
    """Quantize the last axis to symmetric codes of `levels_log2` + 1 bits; steps are powers of two."""
    step = activation_step(x, levels_log2)
    return activation_codes(x, step, levels_log2) * step


def activation_step(x: Tensor, levels_log2: int) -> Tensor:
    """Return what one code is worth, [..., 1]."""
    peak = x.detach().abs().amax(-1, keepdim=True).clamp_min(_EPS)
    return torch.exp2(torch.floor(torch.log2(peak)) - levels_log2)


def activation_codes(x: Tensor, step: Tensor, levels_log2: int) -> Tensor:
    """Return the codes of x, with the gradient of x / step."""
    limit = 2.0 ** (levels_log2 + 1) - 1
    scaled = x / step
    return straight_through(scaled, torch.clamp(torch.round(scaled), -limit, limit))


def weight_scale(weight: Tensor) -> Tensor:
    """Return the one scale of a BitLinear matrix: its mean magnitude (BitNet b1.58)."""
    return weight.detach().abs().mean().clamp_min(_EPS)


def weight_codes(weight: Tensor, weight_type: int) -> Tensor:
    """Return the codes of a matrix: −1/+1 (binary) or −1/0/+1 (ternary)."""
    if weight_type == BINARY:
        return torch.where(weight >= 0, 1.0, -1.0)
    return torch.clamp(torch.round(weight / weight_scale(weight)), -1, 1)


def embedding_scale(weight: Tensor, bits: int) -> Tensor:
    """Return the step of the embedding's codes: 4 bits, near the least squared error; 8 bits, its range."""
    if bits == 4:
        return 0.44 * weight_scale(weight)
    return weight.detach().abs().amax().clamp_min(_EPS) / 127


def embedding_codes(weight: Tensor, bits: int) -> Tensor:
    """Return integer codes of the embedding table."""
    limit = 2 ** (bits - 1) - 1
    return torch.clamp(torch.round(weight / embedding_scale(weight, bits)), -limit, limit)


class BitLinear(nn.Linear):
    """A linear map of binary or ternary weights times one scale; the norm before it quantizes its input."""

    def __init__(self, in_features: int, out_features: int, shape: Shape) -> None:
        super().__init__(in_features, out_features, bias=False)
        self._weight_type = shape.weight_type
        self._quantized = shape.quantized

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] → [..., out]."""
        if not self._quantized:
            return F.linear(x, self.weight)
        codes = weight_codes(self.weight, self._weight_type)
        return F.linear(x, straight_through(self.weight, codes * weight_scale(self.weight)))


class RMSNorm(nn.Module):
    """Root-mean-square norm, then activation quantization: the input of a BitLinear."""

    def __init__(self, size: int, shape: Shape, bits: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self._levels_log2 = (bits or shape.activation_bits) - 2
        self._quantized = shape.quantized

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., size] → the same shape, quantized."""
        codes, unit = self.codes(x)
        return codes * unit

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [..., size] → codes [..., size] and what one is worth [..., 1].

        Steps are powers of two, so codes depend on the units they are taken in: as in native/SPEC.md, x
        and γ over its peak. The division by the root mean square comes after.
        """
        root = torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPS)
        if not self._quantized:
            return x * self.weight, root
        peak = self.weight.detach().abs().amax()
        y = x * (self.weight / peak)
        step = activation_step(y, self._levels_log2)
        return activation_codes(y, step, self._levels_log2), step * root * peak


def rope_tables(length: int, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return cosines and sines [length, head_dim/2] of the rotary embedding."""
    half = shape.head_dim // 2
    steps = shape.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * steps
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [batch, heads, length, head_dim] by the rotary embedding, pairs (i, i + head_dim/2)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Attention(nn.Module):
    """Grouped-query attention over a sliding window of int4 keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape
        width, kv_width = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        self.q_proj = BitLinear(shape.hidden_size, width, shape)
        self.k_proj = BitLinear(shape.hidden_size, kv_width, shape)
        self.v_proj = BitLinear(shape.hidden_size, kv_width, shape)
        self.o_proj = BitLinear(width, shape.hidden_size, shape)
        self.attn_sub_norm = RMSNorm(width, shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Map [batch, length, hidden] → the same. mask [length, length]: True where attention may look."""
        shape = self._shape
        batch, length, _ = x.shape

        def heads(y: Tensor, count: int) -> Tensor:
            return y.view(batch, length, count, shape.head_dim).transpose(1, 2)

        q = rotate(heads(self.q_proj(x), shape.num_heads), cos, sin)
        k = rotate(heads(self.k_proj(x), shape.num_kv_heads), cos, sin)
        v = heads(self.v_proj(x), shape.num_kv_heads)
        # As in the file, what takes scores to powers of two is part of q and so of the units of its codes.
        q = q * (math.log2(math.e) / math.sqrt(shape.head_dim))
        if shape.quantized:
            q = quantize_activations(q, _Q_LEVELS_LOG2)
            k, v = (quantize_activations(y, _KV_LEVELS_LOG2) for y in (k, v))
        groups = shape.num_heads // shape.num_kv_heads
        k, v = (y.repeat_interleave(groups, dim=1) for y in (k, v))
        scores = (q @ k.transpose(-1, -2)) * math.log(2)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        out = (weights @ v).transpose(1, 2).reshape(batch, length, -1)
        return self.o_proj(self.attn_sub_norm(out))


class MLP(nn.Module):
    """Gated squared-ReLU feed-forward."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = BitLinear(shape.hidden_size, shape.intermediate_size, shape)
        self.up_proj = BitLinear(shape.hidden_size, shape.intermediate_size, shape)
        self.down_proj = BitLinear(shape.intermediate_size, shape.hidden_size, shape)
        self.ffn_sub_norm = RMSNorm(shape.intermediate_size, shape)

    def forward(self, codes: Tensor) -> Tensor:
        """Map [..., hidden] → the same shape. The input is codes: its unit would go with the second norm."""
        gate = self.gate_proj(codes) / weight_scale(self.gate_proj.weight)
        up = self.up_proj(codes) / weight_scale(self.up_proj.weight)
        return self.down_proj(self.ffn_sub_norm(F.relu(gate).square() * up))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden_size, shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Map [batch, length, hidden] → the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm.codes(x)[0])


class Decoder(nn.Module):
    """Embedding, layers and final norm (`model.` in a Hugging Face checkpoint)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.05)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_layers))
        # Logits decide between labels that can be close: the last norm keeps 8 bits whatever the others have.
        self.norm = RMSNorm(shape.hidden_size, shape, bits=8)

    def embedding(self) -> Tensor:
        """Return the table [vocab, hidden] as the integer model sees it."""
        weight = self.embed_tokens.weight
        if not self.shape.quantized:
            return weight
        bits = self.shape.embedding_bits
        return straight_through(weight, embedding_codes(weight, bits) * embedding_scale(weight, bits))

    def forward(self, tokens: Tensor, table: Tensor) -> Tensor:
        """Map tokens [batch, length] → normed hidden states [batch, length, hidden]."""
        length = tokens.shape[1]
        cos, sin = rope_tables(length, self.shape)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        mask = (distance >= 0) & (distance < self.shape.window)
        x = F.embedding(tokens, table)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)


class BitNetLM(nn.Module):
    """The decoder with its tied head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.model = Decoder(shape)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens [batch, length] → (hidden states [batch, length, hidden], table [vocab, hidden]).

        Logits are hidden · tableᵀ.
        """
        table = self.model.embedding()
        return self.model(tokens, table), table
