# A conversation of single requests: template, prompt, answer.

import time
from array import array
from collections import OrderedDict, namedtuple

import micropython

from .intents import Labels, ReplyReader
from .model import Model, ModelError
from .tokenizer import Tokenizer

# intent: its name. confidence: permille. slots: {name: value as the phrase has it}, in the reply's order.
# source: what answered. prompt_tokens: length of the prompt, its fixed beginning included.
Answer = namedtuple("Answer", ("intent", "confidence", "slots", "source", "latency_ms", "prompt_tokens"))


class Session:
    """Answers phrases with one model, each independent of those before it.

    Requests start from the KV cache after the template's beginning, `<|system|>`, the system text and
    `<|user|>`. The model file has it stored; if not, or if the window is too small for it, the beginning is
    run through the model once, here, and a snapshot kept.
    """

    def __init__(self, model: Model, capacity: int = 256) -> None:
        self.model = model
        self.latency_ms = 0  # of the last request
        self.prompt_tokens = 0  # of the last request
        self.fed_tokens = 0  # of the last infer(): those that were computed, in the prompt and the reply
        self.requests = 0
        self.turns = 0  # of the conversation
        self.unknown = ""  # the intent that says so
        self.labels: Labels | None = None
        if not model.tokenizer[1]:
            raise ModelError(model.path + ": the model has no tokenizer")
        try:
            self.tokenizer = Tokenizer(model.data, model.tokenizer[0], model.tokenizer[1], capacity)
        except ValueError as error:
            raise ModelError(model.path + ": " + str(error)) from None
        if self.tokenizer.token_count != model.vocab_size:
            raise ModelError(model.path + ": the tokenizer is another model's")
        self._one = array("H", [0])
        self._began_at = 0  # the position after the template's beginning
        if model.labels[1]:
            self.labels = Labels(model.data, model.labels[0], model.labels[1], model.vocab_size)
            self._reply = ReplyReader(model, self.tokenizer, self.labels)
            self.unknown = self._intent_name(self._reply.unknown)
        # None if Model.begin() is enough: the template begins in the model file, or there is no template.
        self._snapshot: bytearray | None = None
        if not model.begin() and self.labels is not None:
            self._begin_with(self._system_text())
            self._snapshot = model.snapshot()

    def infer(self, text: str | bytes, features: array | None = None, deadline_ms: int = 0) -> Answer:
        """The answer to a phrase of fewer than `capacity` bytes (ValueError) of UTF-8 (UnicodeError).

        features: tokens to go before those of the phrase, as Features.tokens() gives them; the phrase may
        then be empty. Raises DeadlineError if that takes longer than deadline_ms; 0: as long as it takes.
        """
        if self.labels is None:
            raise ModelError("the model has no intents")
        text = self._checked(text)
        started = time.ticks_ms()
        self.model.deadline = time.ticks_add(started, deadline_ms) if deadline_ms else None
        # The promise is no allocation per token; the lock keeps it.
        micropython.heap_lock()
        try:
            count = self._feed_prompt(text, features)
            self._reply.read(count)
            self.fed_tokens = self.model.position() - self._began_at
        finally:
            micropython.heap_unlock()
            self.model.deadline = None
        self.latency_ms = time.ticks_diff(time.ticks_ms(), started)
        self.requests += 1
        return self._answer(text)

    def generate(self, text: str | bytes, max_tokens: int = 32, features: array | None = None):
        """Yields what the model says to a text, unconstrained, as pieces of UTF-8, each a token."""
        started = time.ticks_ms()
        self._feed_prompt(self._checked(text), features)
        yield from self._continue(max_tokens, started)

    def chat(self, text: str | bytes, max_tokens: int = 32, system: bytes | None = None):
        """A turn of a conversation, over the sliding window; yields as generate() does.

        A system text begins a conversation; without one the first turn has the model's own. Other requests
        end it.
        """
        labels = self.labels
        if labels is None:
            raise ModelError("the model has no roles to chat with")
        text = self._checked(text)
        started = time.ticks_ms()
        if system is not None:
            self._begin_with(self._checked(system))
        elif self.turns == 0:
            self._begin()
        else:
            self._feed_one(labels.end)
            self._feed_one(labels.user)
        turns = self.turns + 1
        self.model.feed(self.tokenizer.tokens, self.tokenizer.encode(text))
        self._feed_one(labels.assistant)
        self.prompt_tokens = self.model.position()
        yield from self._continue(max_tokens, started)
        self.turns = turns

    def _continue(self, max_tokens: int, started: int):
        """What the model says next."""
        self.requests += 1
        everything = bytearray(b"\xff" * ((self.model.vocab_size + 7) // 8))
        for _ in range(max_tokens):
            self.model.top_k(everything, self._one, None, 1)
            token = self._one[0]
            if self.labels is not None and token == self.labels.end:
                break
            self.latency_ms = time.ticks_diff(time.ticks_ms(), started)
            yield self.tokenizer.text(token)
            self.model.feed(self._one, 1)

    def reset(self) -> None:
        """Forget the last request and the statistics."""
        self._begin()
        self.latency_ms = self.prompt_tokens = self.requests = 0

    def _checked(self, text: str | bytes) -> bytes:
        if isinstance(text, str):
            text = text.encode()
        else:
            str(text, "utf-8")  # raises UnicodeError
        if len(text) >= self.tokenizer.capacity:
            raise ValueError(f"the text has {len(text)} bytes, at most {self.tokenizer.capacity - 1} fit")
        return text

    def _feed_prompt(self, text: bytes, features: array | None) -> int:
        """Feed the template with features and text; returns the tokens of the text alone."""
        tokenizer, model = self.tokenizer, self.model
        count = prompt = tokenizer.encode(text)
        if self.labels is not None:
            tokenizer.tokens[count] = self.labels.assistant
            prompt += 1
        self._begin()
        self._began_at = model.position()
        if features:
            model.feed(features, len(features))
        model.feed(tokenizer.tokens, prompt)
        self.prompt_tokens = model.position()
        return count

    def _begin_with(self, system: bytes) -> None:
        """Run the template's beginning with a system text through the model."""
        assert self.labels is not None
        self.turns = 0
        self.model.reset()
        self._feed_one(self.labels.system)
        self.model.feed(self.tokenizer.tokens, self.tokenizer.encode(system))
        self._feed_one(self.labels.user)

    def _begin(self) -> None:
        self.turns = 0
        if self._snapshot is None:
            self.model.begin()
        else:
            self.model.restore(self._snapshot)

    def _answer(self, text: bytes) -> Answer:
        labels, reply, name = self.labels, self._reply, self.tokenizer.text
        assert labels is not None
        intent = self._intent_name(reply.intent)
        slots = OrderedDict()
        for i in range(reply.slot_count):
            slot = str(name(labels.first_slot + reply.slots[i]), "utf-8")
            slots[slot] = str(text[reply.begins[i] : reply.ends[i]], "utf-8")
        return Answer(intent, reply.confidence, slots, "model", self.latency_ms, self.prompt_tokens)

    def _intent_name(self, intent: int | None) -> str:
        assert self.labels is not None
        if intent is None:
            return "unknown"
        return str(self.tokenizer.text(self.labels.first_intent + intent), "utf-8")

    def _feed_one(self, token: int) -> None:
        self._one[0] = token
        self.model.feed(self._one, 1)

    def _system_text(self) -> bytes:
        text = self.model.metadata().get("system", "")
        return text.encode() if isinstance(text, str) else b""
