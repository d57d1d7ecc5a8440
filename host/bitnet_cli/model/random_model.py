"""Sound random models of any shape, for whoever needs a model and not its answers."""

import math
from typing import Any

import numpy as np

from .modelfile import (
    TIED,
    Int16,
    Layer,
    Matrix,
    ModelConfig,
    Prefix,
    Scale,
    Weights,
    norm_factor,
    rope_steps,
    write,
)
from .packing import BINARY, Int8

_GAMMA_ONE = 4096  # the γ mantissa that stands for 1.0


def random_model(
    config: ModelConfig,
    seed: int,
    tokenizer_section: bytes = b"",
    labels_section: bytes = b"",
    metadata: dict[str, Any] | None = None,
    prefix: Prefix | None = None,
) -> bytes:
    """Make a sound random model: residual of size about 1, attention scores within ±4, no tokenizer."""
    rng = np.random.default_rng(seed)
    limit = config.embedding_limit
    codes = np.clip(
        np.round(rng.normal(0, limit / 2.6, (config.vocab_size, config.hidden_size))), -limit, limit
    )
    code_size = float(np.sqrt(np.mean(codes**2))) or 1.0
    embedding = Matrix(Scale.from_float(1 / code_size), codes.astype(np.int8))
    logit_scale = 0.7 * norm_factor(config.hidden_size) / _GAMMA_ONE / math.sqrt(config.hidden_size)
    head: Scale | Matrix = Scale.from_float(logit_scale / code_size)
    if config.head_type != TIED:
        values = _random_codes(rng, config.vocab_size, config.hidden_size, config.head_type)
        head = Matrix(Scale.from_float(logit_scale), values)
    weights = Weights(
        rope_steps(config.head_dim),
        embedding,
        tuple(_random_layer(config, rng) for _ in range(config.num_layers)),
        _random_norm(rng, config.hidden_size),
        head,
    )
    metadata = metadata or {"name": f"random-{seed}"}
    return write(config, weights, tokenizer_section, labels_section, metadata, prefix)


def _random_norm(rng: np.random.Generator, n: int) -> Int16:
    return np.round(_GAMMA_ONE * rng.normal(1, 0.2, n)).clip(-32768, 32767).astype(np.int16)


def _random_codes(rng: np.random.Generator, rows: int, columns: int, weight_type: int) -> Int8:
    choices = np.array([-1, 1] if weight_type == BINARY else [-1, 0, 1], np.int8)
    return rng.choice(choices, (rows, columns))


def _random_layer(config: ModelConfig, rng: np.random.Generator) -> Layer:
    def matrix(rows: int, columns: int, size: float) -> Matrix:
        """Make a random matrix whose outputs have the given size, from a normed input."""
        values = _random_codes(rng, rows, columns, config.weight_type)
        density = 1 if config.weight_type == BINARY else 2 / 3
        scale = size / math.sqrt(columns * density) * norm_factor(columns) / _GAMMA_ONE
        return Matrix(Scale.from_float(scale), values)

    hidden, query, inner = config.hidden_size, config.query_size, config.intermediate_size
    score_size = 2.0 * math.log2(math.e) / math.sqrt(config.head_dim)
    branch_size = 1 / math.sqrt(2 * config.num_layers)
    return Layer(
        attn_norm=_random_norm(rng, hidden),
        q=matrix(query, hidden, score_size),
        k=matrix(config.kv_size, hidden, 1),
        v=matrix(config.kv_size, hidden, 1),
        attn_sub_norm=_random_norm(rng, query),
        o=matrix(hidden, query, branch_size),
        ffn_norm=_random_norm(rng, hidden),
        gate=matrix(inner, hidden, 1),
        up=matrix(inner, hidden, 1),
        ffn_sub_norm=_random_norm(rng, inner),
        down=matrix(hidden, inner, branch_size),
    )
