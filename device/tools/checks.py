# What `bitnet-cli validate` and `bitnet-cli bench board` run on a board through the REPL. Functions answer
# with one line of JSON.

import binascii
import gc
import json
import time
from array import array

from bitnet import Session, load
from bitnet.tokenizer import Tokenizer

_model = load()


def model() -> None:
    """Tell which model this is, and where its weights are read from."""
    print(json.dumps([_model.path, _model.file_size, _model.crc32, _model.placement]))


def tokens(texts: list) -> None:
    """Tell the tokens of texts, which come in hexadecimal."""
    tokenizer = Tokenizer(_model.data, *_model.tokenizer)
    found = []
    for text in texts:
        count = tokenizer.encode(bytes.fromhex(text))
        found.append([tokenizer.tokens[k] for k in range(count)])
    print(json.dumps(found))


def logit_sums(sequence: list) -> None:
    """Tell the CRC-32 of all logits after each token of a sequence, which begins with an empty cache."""
    logits = array("i", (0 for _ in range(_model.vocab_size)))
    _model.reset()
    found = []
    for token in sequence:
        _model.feed(array("H", [token]), 1)
        _model.logits(logits)
        found.append(binascii.crc32(logits))
    print(json.dumps(found))


def speed(count: int) -> None:
    """Tell how many microseconds a prompt of `count` tokens takes, and as many tokens chosen one by one."""
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
    """Answer phrases; tell bytes of heap: all, the most in use (with garbage), the growth in the end."""
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
