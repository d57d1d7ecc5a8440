# Intents and slots: reads the model's reply token by token, allowing only what native/SPEC.md 1.4 allows.

import struct
from array import array

from micropython import const

from .model import Model, ModelError
from .tokenizer import WORD_END, WORD_START, Tokenizer

_HEADER = "<HHHHHHHHHH"
_HEADER_SIZE = const(20)
_NUMBER = const(1)
_NO_INTENT = const(0xFFFF)

# The grammar has no dead ends; should it get one, this ends the request. It is made in advance, because the
# heap is locked where it is raised.
_DEAD_END = ModelError("the grammar allows nothing after this")


class Labels:
    """The labels section: which tokens are intents and slots, and which slots an intent may have.

    data, offset, size: the section in a model file. Raises ModelError if it is damaged.
    """

    def __init__(self, data: bytes | bytearray | memoryview, offset: int, size: int, vocab_size: int) -> None:
        if size < _HEADER_SIZE:
            raise ModelError("the labels are truncated")
        header = struct.unpack_from(_HEADER, data, offset)
        self.intent_count, self.slot_count, self.first_intent, self.first_slot = header[:4]
        self.system, self.user, self.assistant, self.end = header[4:8]
        self.unknown, self.threshold = header[8:]
        self._allowed = memoryview(data)[offset + _HEADER_SIZE : offset + size]
        self._kinds = memoryview(data)[offset + _HEADER_SIZE + 4 * self.intent_count : offset + size]
        if (
            not 1 <= self.intent_count <= 1024
            or self.slot_count > 32
            or size < _HEADER_SIZE + 4 * self.intent_count + self.slot_count
            or self.first_intent + self.intent_count > vocab_size
            or self.first_slot + self.slot_count > vocab_size
            or max(header[4:8]) >= vocab_size
            or self.intent_count <= self.unknown != _NO_INTENT
        ):
            raise ModelError("the labels are out of range")

    def allows(self, intent: int, slot: int) -> bool:
        """Say whether an intent may have a slot."""
        # Read by the byte, because 32 bits do not fit a small integer, and another one would be allocated.
        return bool(self._allowed[4 * intent + (slot >> 3)] >> (slot & 7) & 1)

    def is_number(self, slot: int) -> bool:
        """Say whether the values of a slot are numbers."""
        return self._kinds[slot] == _NUMBER


class ReplyReader:
    """Reads the reply to the phrase that the tokenizer has encoded last. Allocates memory only at the start.

    After read() there are `intent` (None: unknown), its `confidence` in permille, and `slot_count` slots:
    slots[i] has the value text[begins[i]:ends[i]] of the phrase.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, labels: Labels) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._labels = labels
        # The intent that means "none of these", if the model has one.
        self.unknown = None if labels.unknown == _NO_INTENT else labels.unknown
        self.intent: int | None = None
        self.confidence = 0
        self.slot_count = 0
        self.slots = bytearray(labels.slot_count)
        self.begins = array("H", bytes(2 * labels.slot_count))
        self.ends = array("H", bytes(2 * labels.slot_count))
        # The allowed tokens: a set of bits for the model, and a list by which the bits are quickly cleared.
        most = max(labels.intent_count, tokenizer.capacity + labels.slot_count + 1)
        self._mask = bytearray((model.vocab_size + 7) // 8)
        self._allowed = array("H", bytes(2 * most))
        self._allowed_count = 0
        # Tokens of the reply that have not been fed yet, because the model was not asked since.
        self._pending = array("H", bytes(2 * (tokenizer.capacity + 2 * labels.slot_count + 2)))
        self._pending_count = 0
        self._used = bytearray(labels.slot_count)
        self._places = bytearray(tokenizer.capacity)
        self._best = array("H", [0])
        self._permille = array("H", [0])

    def read(self, count: int) -> None:
        """Read the reply to a phrase of `count` tokens, which must have been fed with its template."""
        labels = self._labels
        self.slot_count = self._pending_count = 0
        self._clear()
        for token in range(labels.first_intent, labels.first_intent + labels.intent_count):
            self._allow(token)
        intent = self._choose(with_probability=True) - labels.first_intent
        self.confidence = self._permille[0]
        if intent == labels.unknown or self.confidence < labels.threshold:
            self.intent = self.unknown
            return
        self.intent = intent
        for slot in range(labels.slot_count):
            self._used[slot] = not labels.allows(intent, slot)
        self._allow_slots(count)
        token = self._choose()
        while token != labels.end:
            token = self._read_value(token - labels.first_slot, count)

    def _read_value(self, slot: int, count: int) -> int:
        """Read the value of a slot; return the token after it, which is `end` or the next slot."""
        tokenizer, places, labels = self._tokenizer, self._places, self._labels
        tokens, marks = tokenizer.tokens, tokenizer.marks
        number = labels.is_number(slot)
        self._used[slot] = True
        for k in range(count):
            places[k] = self._may_start(k, number)
            if places[k]:
                self._allow(tokens[k])
        token = self._choose()
        length = 0
        while True:
            # places: where in the phrase the value may begin, by the tokens so far.
            begin = -1
            for k in range(count - length):
                if not places[k]:
                    continue
                last = k + length
                if tokens[last] != token:
                    places[k] = False
                    continue
                if begin < 0 and marks[last] & WORD_END and (not number or tokenizer.ends_number(last)):
                    begin = k
                if last + 1 < count and (not number or tokenizer.continues_number(last + 1)):
                    self._allow(tokens[last + 1])
            length += 1
            if begin >= 0:
                self._allow_slots(count)
            token = self._choose()
            if token == labels.end or labels.first_slot <= token < labels.first_slot + labels.slot_count:
                break
        starts, i = tokenizer.starts, self.slot_count
        self.slots[i] = slot
        # The space that was put before the text counts in starts.
        self.begins[i] = starts[begin] - (not tokenizer.begins_with_space(begin))
        self.ends[i] = starts[begin + length] - 1
        self.slot_count = i + 1
        return token

    def _may_start(self, k: int, number: bool) -> bool:
        """Say whether a value may begin with the k-th token."""
        tokenizer = self._tokenizer
        return bool(tokenizer.marks[k] & WORD_START and (not number or tokenizer.begins_number(k)))

    def _allow_slots(self, count: int) -> None:
        """Allow `end`, and the slots that are still free and for which the phrase may have a value."""
        labels = self._labels
        self._allow(labels.end)
        for slot in range(labels.slot_count):
            if not self._used[slot]:
                number = labels.is_number(slot)
                for k in range(count):
                    if self._may_start(k, number):
                        self._allow(labels.first_slot + slot)
                        break

    def _allow(self, token: int) -> None:
        bit = 1 << (token & 7)
        if not self._mask[token >> 3] & bit:
            self._mask[token >> 3] |= bit
            self._allowed[self._allowed_count] = token
            self._allowed_count += 1

    def _clear(self) -> None:
        for i in range(self._allowed_count):
            self._mask[self._allowed[i] >> 3] = 0
        self._allowed_count = 0

    def _choose(self, with_probability: bool = False) -> int:
        """Take the best of the allowed tokens into the reply and return it; forbid all tokens again.

        The model is not asked if a single token is allowed, unless the token's probability is wanted.
        """
        if self._allowed_count == 0:
            raise _DEAD_END
        if self._allowed_count == 1 and not with_probability:
            token = self._allowed[0]
        else:
            if self._pending_count:
                self._model.feed(self._pending, self._pending_count)
                self._pending_count = 0
            permille = self._permille if with_probability else None
            self._model.top_k(self._mask, self._best, permille, 1)
            token = self._best[0]
        self._clear()
        self._pending[self._pending_count] = token
        self._pending_count += 1
        return token
