"""A small tokenizer and labels, and random models with them."""

import functools

from bitnet_cli.model import grammar, modelfile, oracle, tokenizer
from bitnet_cli.model.random_model import random_model
from tokenizers import Tokenizer

INTENTS = ["read_temperature", "set_temperature", "light_on", "set_timer", "unknown"]
SLOTS = {"room": "text", "value": "number", "duration": "text", "unit": "text"}
ALLOWED = {"read_temperature": ["room"], "set_temperature": list(SLOTS), "set_timer": ["duration", "value"]}
SYSTEM = "home"

CORPUS = (
    "what's the temperature in the living room and the kitchen, is it warm or cold?",
    "set the thermostat in the bedroom to twenty-one point five degrees, please; it's 21.5 now!",
    "turn the lights on and off in zone 12, water the tomato bed for 10 minutes, don't lock the door",
    "grün café naïve 北京 wie wärmst du дом ☀️ 100% (50/50) --- ... ???",
)
_SPECIALS = grammar.specials(INTENTS, list(SLOTS))
_VOCAB_SIZE = 420


@functools.cache
def host_tokenizer() -> Tokenizer:
    return tokenizer.train_tokenizer(CORPUS * 3, _VOCAB_SIZE, _SPECIALS)


@functools.cache
def token_texts() -> list[bytes]:
    return tokenizer.read_section(tokenizer.tokenizer_section(host_tokenizer(), _SPECIALS)).texts


def labels(threshold: int = 0, unknown: str | None = "unknown") -> grammar.Labels:
    declared = grammar.Labels(INTENTS, SLOTS, ALLOWED, unknown=unknown, threshold=threshold)
    return declared.resolve(host_tokenizer())


def template_beginning() -> list[int]:
    """The tokens of every prompt before its phrase."""
    return grammar.template_beginning(labels(), tokenizer.encode(host_tokenizer(), SYSTEM).ids)


def model(
    seed: int,
    threshold: int = 0,
    unknown: str | None = "unknown",
    prefix: bool = True,
    features: object = None,
    **config: int,
) -> bytes:
    """A random model, as the exporter writes one (or without a prefix); config overrides ModelConfig.

    features: what the metadata has of them.
    """
    shape = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 12,
    }
    made = random_model(
        modelfile.ModelConfig(vocab_size=len(token_texts()), **{**shape, **config}),
        seed,
        tokenizer.tokenizer_section(host_tokenizer(), _SPECIALS),
        grammar.labels_section(labels(threshold, unknown)),
        {"name": "random", "system": SYSTEM} | ({"features": features} if features else {}),
    )
    return oracle.store_prefix(made, template_beginning()) if prefix else made
