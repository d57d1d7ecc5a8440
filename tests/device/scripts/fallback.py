# Injects a fault, then asks. Arguments: the fault, the model. Prints [source, reason, intent] of each reply.
import gc
import json
import sys

from bitnet import fallback
from bitnet.fallback import FallbackError, Responder
from bitnet.model import ModelError, load
from bitnet.session import Session

PHRASE = b"is it warm in the kitchen"


class OneRule:
    def match(self, phrase):
        return ("by_rule", {}) if b"warm" in phrase else None


def show(responder, phrase, deadline_ms=0):
    try:
        reply = responder.infer(phrase, deadline_ms)
        print(json.dumps([reply.answer.source, reply.reason, reply.answer.intent]))
    except FallbackError as error:
        print(json.dumps([None, error.reason, str(error)]))


def absent():
    responder = Responder(None, OneRule())
    try:
        responder.replace(Session(load(sys.argv[2])))
    except (ModelError, MemoryError) as error:
        responder.replace(None, fallback.reason_of(error), str(error))
    show(responder, PHRASE)
    responder.modes = 0
    show(responder, PHRASE)


def deadline(responder):
    show(responder, PHRASE + b" " + 100 * b" x", 1)
    responder.rules = None
    show(responder, PHRASE + b" " + 100 * b" x", 1)


def memory(responder):
    hoard = []
    size = 4096
    gc.collect()
    while size >= 16:
        try:
            hoard.append(bytearray(size))
        except MemoryError:
            size //= 2
    chain = None
    try:
        while True:
            chain = (chain,)
    except MemoryError:
        pass
    try:
        reply = responder.infer(PHRASE)
    finally:
        hoard = chain = None
    print(json.dumps([reply.answer.source, reply.reason, reply.answer.intent]))


def stack(responder):
    """Ask where the stack is just too small for the model."""

    def deep(n):
        return deep(n - 1) if n else responder.infer(PHRASE)

    n = 10
    reply = deep(n)
    while reply.answer.source == "model":
        n += 1
        reply = deep(n)
    print(json.dumps([reply.answer.source, reply.reason, reply.answer.intent]))


def confidence(responder):
    responder.threshold = 1000
    show(responder, PHRASE)
    show(responder, b"how warm is it")
    show(responder, b"x")


def run(fault):
    if fault == "absent":
        absent()
        return
    responder = Responder(Session(load(sys.argv[2])), OneRule())
    show(responder, PHRASE)
    globals()[fault](responder)
    responder.threshold = 0
    show(responder, PHRASE)


run(sys.argv[1])
