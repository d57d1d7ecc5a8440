"""Export: a checkpoint becomes a `.bitnet` file, and its integers are compared with the floats they mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..model.features import to_metadata
from ..model.grammar import Labels, labels_section, specials, template_beginning
from ..model.modelfile import Layer, Matrix, Scale, Weights, norm_factor, rope_steps, write
from ..model.oracle import Oracle, choose, store_prefix
from ..model.tokenizer import encode, tokenizer_section
from ..phrases.phrases import Phrase
from .checkpoint import Checkpoint
from .dataset import Example
from .qat import BitNetLM, RMSNorm, embedding_codes, embedding_scale, weight_codes, weight_scale
from .qat import Layer as TorchLayer
from .report import Evaluation, Prediction, TorchScorer, evaluate, held_out_examples

WANTED_AGREEMENT = 0.995
_GAMMA_LIMIT = 32767


@dataclass(frozen=True)
class Agreement:
    """How often the integers choose what the floats choose, and the integers' figures on the held-out set."""

    choices: int
    share: float
    integers: Evaluation


def export(checkpoint: Checkpoint) -> bytes:
    """Export a checkpoint to a `.bitnet` file (native/SPEC.md) that stores its template's beginning."""
    labels = checkpoint.labels
    keys = specials(labels.intents, list(labels.slots), checkpoint.features)
    metadata: dict[str, Any] = {"name": checkpoint.name, "system": checkpoint.system}
    if checkpoint.features:
        metadata["features"] = to_metadata(checkpoint.features, labels.first_slot + len(labels.slots))
    model = write(
        checkpoint.shape.config(),
        integer_weights(checkpoint.model),
        tokenizer_section(checkpoint.tokenizer, keys),
        labels_section(labels),
        metadata,
    )
    system = encode(checkpoint.tokenizer, checkpoint.system).ids
    return store_prefix(model, template_beginning(labels, system))


def requantize(checkpoint: Checkpoint, weight_type: int | None, activation_bits: int | None) -> Checkpoint:
    """Give a checkpoint other weights or activations than it was trained for; look at its accuracy."""
    shape = replace(
        checkpoint.shape,
        weight_type=weight_type or checkpoint.shape.weight_type,
        activation_bits=activation_bits or checkpoint.shape.activation_bits,
    )
    model = BitNetLM(shape)
    model.load_state_dict(checkpoint.model.state_dict())
    model.eval()
    return replace(checkpoint, model=model)


@torch.no_grad()
def integer_weights(model: BitNetLM) -> Weights:
    """Return codes and scales, with what SPEC 1.2 says the writer multiplies into the scales."""
    decoder, shape = model.model, model.model.shape

    def matrix(linear: torch.nn.Linear, norm: RMSNorm, factor: float = 1.0) -> Matrix:
        codes = weight_codes(linear.weight, shape.weight_type).numpy().astype(np.int8)
        return Matrix(Scale.from_float(weight_scale(linear.weight).item() * _norm_unit(norm) * factor), codes)

    layers = []
    for layer in decoder.layers:
        assert isinstance(layer, TorchLayer)
        attention, mlp = layer.self_attn, layer.mlp
        layers.append(
            Layer(
                attn_norm=_gamma(layer.input_layernorm),
                q=matrix(
                    attention.q_proj, layer.input_layernorm, math.log2(math.e) / math.sqrt(shape.head_dim)
                ),
                k=matrix(attention.k_proj, layer.input_layernorm),
                v=matrix(attention.v_proj, layer.input_layernorm),
                attn_sub_norm=_gamma(attention.attn_sub_norm),
                o=matrix(attention.o_proj, attention.attn_sub_norm),
                ffn_norm=_gamma(layer.post_attention_layernorm),
                gate=matrix(mlp.gate_proj, layer.post_attention_layernorm),
                up=matrix(mlp.up_proj, layer.post_attention_layernorm),
                ffn_sub_norm=_gamma(mlp.ffn_sub_norm),
                down=matrix(mlp.down_proj, mlp.ffn_sub_norm),
            )
        )
    table = decoder.embed_tokens.weight
    step = embedding_scale(table, shape.embedding_bits).item()
    return Weights(
        rope_step=rope_steps(shape.head_dim, shape.rope_theta),
        embedding=Matrix(
            Scale.from_float(step), embedding_codes(table, shape.embedding_bits).numpy().astype(np.int8)
        ),
        layers=tuple(layers),
        final_norm=_gamma(decoder.norm),
        head=Scale.from_float(step * _norm_unit(decoder.norm)),
    )


def measure_agreement(checkpoint: Checkpoint, model: bytes, phrases: Sequence[Phrase]) -> Agreement:
    """Compare each choice on the way to the right replies: integers (the oracle) against floats (PyTorch)."""
    examples, _ = held_out_examples(checkpoint, phrases)
    integer_predictions = OracleScorer(model, checkpoint.labels)(examples)
    float_predictions = TorchScorer(checkpoint)(examples)
    equal = total = 0
    for example, a, b in zip(examples, integer_predictions, float_predictions, strict=True):
        equal += a.intent == b.intent
        total += 1
        for i, ids in enumerate(example.allowed):
            if len(ids) > 1:
                equal += a.steps[i] == b.steps[i]
                total += 1
    integers = evaluate(checkpoint, phrases, lambda _: integer_predictions)
    return Agreement(total, equal / total, integers)


class OracleScorer:
    """The exported model in the NumPy oracle: what every board answers."""

    def __init__(self, model: bytes, labels: Labels) -> None:
        self._oracle = Oracle(model)
        self._labels = labels

    def __call__(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the examples' order."""
        positions = [range(e.reply_start, len(e.tokens)) for e in examples]
        logits = self._oracle.batch_logits([e.tokens for e in examples], positions)
        intents = np.arange(self._labels.first_intent, self._labels.first_intent + len(self._labels.intents))
        predictions = []
        for example, (values, scale) in zip(examples, logits, strict=True):
            first = type(scale)(scale.m[0], scale.e[0])
            choice = choose(values[0], first, intents, 1)
            steps = [
                int(ids[np.argmax(values[1 + i][ids])]) for i, ids in enumerate(map(np.sort, example.allowed))
            ]
            predictions.append(
                Prediction(choice.ids[0] - self._labels.first_intent, choice.permille[0] / 1000, steps)
            )
        return predictions


def _norm_unit(norm: RMSNorm) -> float:
    """Return what one unit of a norm's mantissas is worth, with the factor its integer form leaves out."""
    return norm.weight.abs().max().item() / _GAMMA_LIMIT * norm_factor(len(norm.weight))


def _gamma(norm: RMSNorm) -> npt.NDArray[np.int16]:
    weight = norm.weight.double()
    return torch.round(weight / weight.abs().max() * _GAMMA_LIMIT).numpy().astype(np.int16)
