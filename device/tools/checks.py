# What `bitnet-cli validate` and `bitnet-cli bench board` run on a board through the REPL. Functions print one
# line of JSON.

import binascii
import gc
import json
import time
from array import array

from bitnet import Session, load
from bitnet.tokenizer import Tokenizer

_model = load()


def model() -> None:
    """Which model this is, and where its weights are read from."""
    print(json.dumps([_model.path, _model.file_size, _model.crc32, _model.placement]))


def tokens(texts: list) -> None:
    """Of texts in hexadecimal, as the board cuts them."""
    tokenizer = Tokenizer(_model.data, *_model.tokenizer)
    found = []
    for text in texts:
        count = tokenizer.encode(bytes.fromhex(text))
        found.append([tokenizer.tokens[k] for k in range(count)])
    print(json.dumps(found))


def logit_sums(sequence: list) -> None:
    """CRC-32 of the bytes of all logits after each token, from an empty cache."""
    import _bitnet  # noqa: PLC0415

    logits = array("i", (0 for _ in range(_model.vocab_size)))
    _model.reset()
    found = []
    for token in sequence:
        _model.feed(array("H", [token]), 1)
        _bitnet.logits(_model.data, _model._state, logits)
        found.append(binascii.crc32(logits))
    print(json.dumps(found))


def speed(count: int) -> None:
    """Microseconds of `count` tokens of a prompt, and of as many that are chosen and fed one by one."""
    prompt = array("H", (65 + k for k in range(count)))
    everything = bytearray(b"\xff" * ((_model.vocab_size + 7) // 8))
    one = array("H", [0])
    _model.reset()
    started = time.ticks_us()
    _model.feed(prompt, count)
    prefilled = time.ticks_us()
    for _ in range(count):
        _model.top_k(everything, one, None, 1)
        _model.feed(one, 1)
    print(json.dumps([time.ticks_diff(prefilled, started), time.ticks_diff(time.ticks_us(), prefilled)]))


def memory(phrases: list, rounds: int) -> None:
    """Bytes of heap: in all; most that were taken, with garbage; how many more after the last round."""
    session = Session(_model)
    gc.collect()
    before = gc.mem_alloc()
    most = 0
    for _ in range(rounds):
        for phrase in phrases:
            session.infer(phrase)
            most = max(most, gc.mem_alloc())
        gc.collect()
    print(json.dumps([gc.mem_alloc() + gc.mem_free(), most, gc.mem_alloc() - before]))
