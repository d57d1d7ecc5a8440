"""Checkpoints in Hugging Face's BitNet layout: config.json, model.safetensors, tokenizer.json.

What Hugging Face has no field for (labels, window, embedding bits, …) is under `bitnet_cli` in config.json.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from tokenizers import Tokenizer

from ..errors import BitnetError
from ..files import write_atomically
from ..model.features import Feature, from_dict, to_dict
from ..model.grammar import Labels
from ..model.packing import BINARY, TERNARY
from ..model.tokenizer import load_tokenizer
from .qat import BitNetLM
from .recipe import Shape

_WEIGHT_TYPES = {BINARY: "binary", TERNARY: "ternary"}
_FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that export needs."""

    model: BitNetLM
    tokenizer: Tokenizer
    labels: Labels
    name: str
    system: str
    features: tuple[Feature, ...] = ()

    @property
    def shape(self) -> Shape:
        """Sizes and quantization of the model."""
        return self.model.model.shape


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the three files into `folder`, which is made if it does not exist. Raises BitnetError."""
    config = json.dumps(_to_config(checkpoint), indent=2) + "\n"
    weights = {name: value.contiguous() for name, value in checkpoint.model.state_dict().items()}
    write_atomically(folder / "config.json", config.encode())
    write_atomically(folder / "model.safetensors", serialize(weights))
    write_atomically(folder / "tokenizer.json", checkpoint.tokenizer.to_str(pretty=True).encode())


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint written by `save`; raises BitnetError if a file is missing or not understood."""
    for name in _FILES:
        if not (folder / name).is_file():
            raise BitnetError(f"{folder}: no {name} here; a checkpoint folder has {', '.join(_FILES)}")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BitnetError(f"{folder / 'config.json'}: not JSON: {error}") from error
    shape, extra = _from_config(config, folder)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    labels = _labels(extra, tokenizer, folder / "config.json")
    if tokenizer.get_vocab_size() != shape.vocab_size:
        size = tokenizer.get_vocab_size()
        raise BitnetError(f"{folder}: the tokenizer has {size} tokens, vocab_size is {shape.vocab_size}")
    features = _features(extra, folder / "config.json")
    model = _load_weights(shape, folder / "model.safetensors")
    return Checkpoint(model, tokenizer, labels, extra["name"], extra["system"], features)


def _load_weights(shape: Shape, path: Path) -> BitNetLM:
    model = BitNetLM(shape)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise BitnetError(f"{path}: does not fit config.json: {_one_line(error)}") from error
    for name, weight in model.state_dict().items():
        if not weight.isfinite().all() or not weight.any():
            raise BitnetError(f"{path}: {name} has values that are not finite, or only zeros")
    model.eval()
    return model


def _to_config(checkpoint: Checkpoint) -> dict[str, Any]:
    shape = checkpoint.shape
    return {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "hidden_act": "relu2",
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
        "torch_dtype": "float32",
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "online",
        },
        "bitnet_cli": {
            "name": checkpoint.name,
            "system": checkpoint.system,
            "weight_type": _WEIGHT_TYPES[shape.weight_type],
            "activation_bits": shape.activation_bits,
            "embedding_bits": shape.embedding_bits,
            "window": shape.window,
            "labels": asdict(checkpoint.labels),
            "features": [to_dict(feature) for feature in checkpoint.features],
        },
    }


def _from_config(config: dict[str, Any], folder: Path) -> tuple[Shape, dict[str, Any]]:
    path = folder / "config.json"
    if not isinstance(config, dict) or config.get("model_type") != "bitnet":
        found = config.get("model_type") if isinstance(config, dict) else None
        raise BitnetError(f"{path}: model_type is {found!r}; only 'bitnet' checkpoints can be used")
    if config.get("hidden_act") != "relu2":
        raise BitnetError(f"{path}: hidden_act is {config.get('hidden_act')!r}; only 'relu2' is supported")
    extra = config.get("bitnet_cli")
    if not isinstance(extra, dict):
        raise BitnetError(f"{path}: has no section `bitnet_cli`; it was not written by `bitnet-cli train`")
    if not isinstance(extra.get("name"), str) or not isinstance(extra.get("system"), str):
        raise BitnetError(f"{path}: `name` and `system` in `bitnet_cli` must be texts")
    types = {name: key for key, name in _WEIGHT_TYPES.items()}
    try:
        shape = Shape(
            vocab_size=int(config["vocab_size"]),
            hidden_size=int(config["hidden_size"]),
            intermediate_size=int(config["intermediate_size"]),
            num_layers=int(config["num_hidden_layers"]),
            num_heads=int(config["num_attention_heads"]),
            num_kv_heads=int(config["num_key_value_heads"]),
            window=int(extra["window"]),
            weight_type=types[extra["weight_type"]],
            activation_bits=int(extra["activation_bits"]),
            embedding_bits=int(extra["embedding_bits"]),
            rope_theta=float(config["rope_theta"]),
        )
    except BitnetError as error:
        raise BitnetError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BitnetError(f"{path}: {_one_line(error)} is missing or not understood") from error
    return shape, extra


def _labels(extra: dict[str, Any], tokenizer: Tokenizer, path: Path) -> Labels:
    """Return the labels of a config, which must be those of the tokenizer."""
    try:
        labels = Labels(**extra["labels"])
        found = labels.resolve(tokenizer)
    except BitnetError as error:
        raise BitnetError(f"{path}: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise BitnetError(f"{path}: `labels` in `bitnet_cli` are missing or not understood") from error
    if found != labels:
        raise BitnetError(f"{path}: the token ids of `labels` do not match tokenizer.json")
    return labels


def _features(extra: dict[str, Any], path: Path) -> tuple[Feature, ...]:
    """Return the features of a config; checkpoints of older versions have none."""
    try:
        return tuple(from_dict(fields) for fields in extra.get("features", ()))
    except BitnetError as error:
        raise BitnetError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise BitnetError(
            f"{path}: `features` in `bitnet_cli` are not understood: {_one_line(error)}"
        ) from error


def _one_line(error: Exception) -> str:
    # PyTorch's first line says only that something does not fit, its second what.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
