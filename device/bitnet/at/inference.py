# Handlers of the commands that ask the model.

import time

from micropython import const

from . import parser
from .command import information
from .parser import AtError, escape

_WEIGHT_TYPES = ("", "binary", "ternary")
_NOT_ASCII = bytes(range(128, 256))
_KV_BITS = const(4)


def _require_session(channel):
    unit = channel.unit
    if unit.session is None:
        raise AtError(parser.NO_MODEL, unit.fault)
    return unit.session


def model(channel) -> tuple:
    """Describes the model: name, bytes, CRC-32, kind of weights, vocabulary, width, layers, window, intents.
    Setting a path loads that model.

    AT+MODEL?
    """
    session = _require_session(channel)
    model = session.model
    return (
        information(
            "+MODEL",
            model.path.split("/")[-1],
            model.file_size,
            f"{model.crc32:08X}",
            _WEIGHT_TYPES[model.weight_type],
            model.vocab_size,
            model.hidden_size,
            model.num_layers,
            model.window,
            session.labels.intent_count if session.labels else 0,
        ),
    )


def load_model(channel, path: bytes) -> None:
    channel.unit.load(str(path, "utf-8"), 0)


def context(channel) -> tuple:
    """Tells the positions of the KV cache, and the bits of its numbers. Setting it loads the model again.

    AT+CTX?
    AT+CTX=16
    AT+CTX=32,4
    """
    return (information("+CTX", _require_session(channel).model.window, _KV_BITS),)


def set_context(channel, window: int, bits: int) -> None:
    channel.unit.load(None, window)


def infer(channel, text: bytes, deadline_ms: int) -> tuple:
    """Answers a phrase: intent, confidence in permille, slots, source (`model`, `cache` or `rule`), ms,
    tokens of the prompt, seconds since it was cached.

    AT+INFER="Set the kitchen to 21 degrees"
    AT+INFER="What's the temp?",1000
    """
    session = channel.unit.session
    if session and session.labels is None:
        raise AtError(parser.NO_INTENTS)
    answer, _, age = channel.unit.infer(text, deadline_ms)
    # Separators inside a value are escaped, so that a client can split first and unescape then.
    slots = b";".join(
        escape(name.encode(), b"=;") + b"=" + escape(value.encode(), b"=;")
        for name, value in answer.slots.items()
    )
    return (
        b'+INFER: "%s",%d,"%s","%s",%d,%d,%d'
        % (
            escape(answer.intent.encode()),
            answer.confidence,
            slots,
            answer.source.encode(),
            answer.latency_ms,
            answer.prompt_tokens,
            age,
        ),
    )


def generate(channel, text: bytes, max_tokens: int):
    """Continues a text token by token, without the grammar. The stock model was not trained for that: what
    it writes is noise.

    AT+GEN="hello",3
    """
    return _pieces("+GEN", _require_session(channel).generate(text, max_tokens))


def turns(channel) -> tuple:
    """Takes a turn of a conversation; another system text begins a new one. Reading it tells the turns, and
    the tokens since the beginning. `AT+INFER` and `AT+GEN` end the conversation. The stock model was not
    trained for conversation: what it writes is noise.

    AT+CHAT="hello",2,"You are a sensor assistant."
    AT+CHAT="and now?",2
    AT+CHAT?
    AT+RESET
    """
    session = _require_session(channel)
    return (information("+CHAT", session.turns, session.model.position()),)


def chat(channel, text: bytes, max_tokens: int, system: bytes):
    return _pieces("+CHAT", _require_session(channel).chat(text, max_tokens, system or None))


def _pieces(name: str, pieces):
    # A token may end inside a character, so nothing but ASCII goes into a line as it is.
    for piece in pieces:
        yield b'%s: "%s"' % (name.encode(), escape(piece, _NOT_ASCII))


def reset(channel) -> None:
    """Forgets the conversation, the cache and the statistics; loads the model again if it has
    failed.

    AT+RESET
    """
    unit = channel.unit
    if unit.session is None:
        unit.reload()
    unit.responder.forget()
    _require_session(channel).reset()


def features(channel):
    """Takes a sensor's reading for the model's features: channel and value. Reading it lists the features,
    their values and their tokens.

    AT+FEAT="light",4350
    AT+FEAT?
    AT+INFER="is anyone in the office?"
    """
    features = channel.unit.features
    if features is None:
        raise AtError(parser.NOT_SUPPORTED, "the model has no features")
    for name, value, token in features.describe():
        yield information("+FEAT", name, value, token)


def push_feature(channel, name: bytes, value: int) -> None:
    features = channel.unit.features
    if features is None:
        raise AtError(parser.NOT_SUPPORTED, "the model has no features")
    try:
        features.push(str(name, "utf-8"), value, time.ticks_ms())
    except ValueError as error:
        raise AtError(parser.NOT_ALLOWED, str(error)) from None
