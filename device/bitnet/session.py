# Requests to a model: template, prompt, answer.

import time
from array import array
from collections import OrderedDict, namedtuple

import micropython

from .intents import Labels, ReplyReader
from .model import Model, ModelError
from .tokenizer import Tokenizer

# intent: its name. confidence: in permille. slots: {name: value as it stands in the phrase}, in the order of
# the reply. source: "model", "cache" or "rule". prompt_tokens: of the whole prompt, with its fixed beginning.
Answer = namedtuple("Answer", ("intent", "confidence", "slots", "source", "latency_ms", "prompt_tokens"))


class Session:
    """Answers phrases with one model, each independently of those before it.

    capacity: bytes of the longest phrase, and one. Raises ModelError if the model cannot answer.

    Requests start from the KV cache as it is after the beginning of the template: `<|system|>`, the system
    text and `<|user|>`. The model file has it stored. If not, or if the window is too small for it, the
    beginning is run through the model once, at the start, and a snapshot of the cache is kept.
    """

    def __init__(self, model: Model, capacity: int = 256) -> None:
        self.model = model
        self.latency_ms = 0  # of the last request
        self.prompt_tokens = 0  # of the last request
        self.fed_tokens = 0  # that the last infer() has computed, in the prompt and in the reply
        self.requests = 0
        self.turns = 0  # of the conversation
        self.unknown = ""  # the intent that means "none of these"
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
        # None if Model.begin() is enough: the model file has the beginning stored, or there is no template.
        self._snapshot: bytearray | None = None
        if not model.begin() and self.labels is not None:
            self._begin_with(self._system_text())
            self._snapshot = model.snapshot()

    def infer(self, text: str | bytes, features: array | None = None, deadline_ms: int = 0) -> Answer:
        """Answer a phrase of UTF-8 that has fewer than `capacity` bytes.

        features: tokens to go before those of the phrase, as Features.tokens() returns them; the phrase may
        then be empty. deadline_ms: how long it may take, 0 for as long as it does.

        Raises DeadlineError after that time, ValueError for a phrase that is too long, UnicodeError for one
        that is not UTF-8, and ModelError if the model has no intents.
        """
        if self.labels is None:
            raise ModelError("the model has no intents")
        text = self._checked(text)
        started = time.ticks_ms()
        self.model.deadline = time.ticks_add(started, deadline_ms) if deadline_ms else None
        # No token may allocate memory, and with the lock none can.
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
        """Yield what the model says to a text, unconstrained, as pieces of UTF-8, one for each token.

        Raises ValueError or UnicodeError as infer() does.
        """
        started = time.ticks_ms()
        self._feed_prompt(self._checked(text), features)
        yield from self._continue(max_tokens, started)

    def chat(self, text: str | bytes, max_tokens: int = 32, system: bytes | None = None):
        """Take a turn of a conversation, which may outgrow the window; yield what generate() yields.

        A system text begins a new conversation; the first turn without one has the model's own. Any other
        request ends the conversation. Raises ModelError if the model has no roles.
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
        """Yield what the model says next, and feed it that."""
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
        """Return a text as bytes. Raises ValueError if it is too long, UnicodeError if it is not UTF-8."""
        if isinstance(text, str):
            text = text.encode()
        else:
            str(text, "utf-8")  # raises UnicodeError
        if len(text) >= self.tokenizer.capacity:
            raise ValueError(f"the text has {len(text)} bytes, at most {self.tokenizer.capacity - 1} fit")
        return text

    def _feed_prompt(self, text: bytes, features: array | None) -> int:
        """Feed the template with features and text; return how many tokens the text has."""
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
        """Go to the end of the template's beginning."""
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
