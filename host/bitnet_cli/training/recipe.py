"""What a model and its training depend on: sizes and choices, without PyTorch."""

import math
from dataclasses import dataclass, fields

from ..errors import BitnetError
from ..model.modelfile import ModelConfig
from ..model.packing import TERNARY


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a model that do not depend on its vocabulary, in the field's usual names."""

    hidden_size: int = 96
    intermediate_size: int = 256
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 4
    window: int = 32
    weight_type: int = TERNARY
    activation_bits: int = 8
    embedding_bits: int = 4
    quantized: bool = True
    """Whether weights and activations are quantized; if not, it is the twin in floats."""


@dataclass(frozen=True, kw_only=True)
class Shape(Sizes):
    """All sizes of a model; raises BitnetError where the file format has no room."""

    vocab_size: int
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        if self.num_heads < 1 or self.hidden_size % self.num_heads:
            raise BitnetError(f"num_heads ({self.num_heads}) must divide hidden_size ({self.hidden_size})")
        if not 1 < self.rope_theta < math.inf:
            raise BitnetError(f"rope_theta is {self.rope_theta}, it must be more than 1")
        self.config()

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_heads

    def config(self) -> ModelConfig:
        """Return the shape as a file has it; raises BitnetError where the format has no room for it."""
        return ModelConfig(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            window=self.window,
            weight_type=self.weight_type,
            activation_bits=self.activation_bits,
            embedding_bits=self.embedding_bits,
        )


@dataclass(frozen=True, kw_only=True)
class Recipe(Sizes):
    """What a training run depends on besides its phrases; facts on each choice are in host/README.md."""

    name: str = "model"
    system: str = ""
    seed: int = 0
    vocab_budget: int = 2048
    threshold: int = 200
    steps: int = 6000
    batch_size: int = 64
    learning_rate: float = 4e-3
    drawn_phrases: int = 40_000
    variations: int = 30_000
    distillation: float = 0.9
    language_weight: float = 0.1
    token_dropout: float = 0.03
    unknown: str = "unknown"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BitnetError(f"steps is {self.steps}, it must be at least 1")
        self.shape(self.vocab_budget)

    def shape(self, vocab_size: int) -> Shape:
        """Return the model's sizes; raises BitnetError where the file format does not allow them."""
        sizes = {field.name: getattr(self, field.name) for field in fields(Sizes)}
        return Shape(vocab_size=vocab_size, **sizes)
