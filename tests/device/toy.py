"""A small tokenizer, and random models with it and with labels, which are written here from SPEC 1.4."""

import functools
import struct

from bitnet_cli import modelfile, tokenizer
from tokenizers import Tokenizer

INTENTS = ("read_temperature", "set_temperature", "light_on", "set_timer", "unknown")
SLOTS = ("room", "value", "duration", "unit")
NUMBERS = ("value",)
ALLOWED = {"read_temperature": ("room",), "set_temperature": SLOTS, "set_timer": ("duration", "value")}
UNKNOWN = INTENTS.index("unknown")
NO_UNKNOWN = 0xFFFF

CORPUS = (
    "what's the temperature in the living room and the kitchen, is it warm or cold?",
    "set the thermostat in the bedroom to twenty-one point five degrees, please; it's 21.5 now!",
    "turn the lights on and off in zone 12, water the tomato bed for 10 minutes, don't lock the door",
    "grün café naïve 北京 wie wärmst du дом ☀️ 100% (50/50) --- ... ???",
)
_VOCAB_SIZE = 420
_SPECIALS = (
    *(f"<intent:{name}>" for name in INTENTS),
    *(f"<slot:{name}>" for name in SLOTS),
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)


@functools.cache
def host_tokenizer() -> Tokenizer:
    return tokenizer.train_tokenizer(CORPUS * 3, _VOCAB_SIZE, _SPECIALS)


@functools.cache
def token_texts() -> list[bytes]:
    return tokenizer.read_section(tokenizer.tokenizer_section(host_tokenizer(), _SPECIALS)).texts


def token(special: str) -> int:
    return len(token_texts()) - len(_SPECIALS) + _SPECIALS.index(special)


def labels_section(threshold: int = 0, unknown: int = UNKNOWN) -> bytes:
    first = len(token_texts()) - len(_SPECIALS)
    special = [token(name) for name in _SPECIALS[-4:]]
    header = (len(INTENTS), len(SLOTS), first, first + len(INTENTS), *special, unknown, threshold)
    allowed = [sum(1 << SLOTS.index(slot) for slot in ALLOWED.get(intent, ())) for intent in INTENTS]
    kinds = bytes(slot in NUMBERS for slot in SLOTS)
    return struct.pack("<10H", *header) + struct.pack(f"<{len(allowed)}I", *allowed) + kinds


def model(seed: int, threshold: int = 0, unknown: int = UNKNOWN, **config: int) -> bytes:
    """A random model; config overrides fields of modelfile.Config."""
    shape = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 12,
    }
    return modelfile.random_model(
        modelfile.Config(vocab_size=len(token_texts()), **{**shape, **config}),
        seed,
        tokenizer.tokenizer_section(host_tokenizer(), _SPECIALS),
        labels_section(threshold, unknown),
        {"name": "random", "system": "home"},
    )
