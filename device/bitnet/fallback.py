# What answers when the model does not: the last answer in the same context, or a rule. Faults are looked for
# in this order, and the first one found becomes the reason:
#
# 1. no native module   2. no usable model   3. the watchdog has ended an inference   4. out of memory
# 5. the deadline has passed   6. the stack is exhausted   7. the model is not sure enough

import gc
from collections import namedtuple

from micropython import const

from . import uptime
from .model import HAS_NATIVE, DeadlineError
from .session import Answer

CACHED = const(1)
RULES = const(2)
SYNC = const(4)  # unit.py acts on it

NATIVE = "native"
MODEL = "model"
WATCHDOG = "watchdog"
MEMORY = "memory"
DEADLINE = "deadline"
STACK = "stack"
CONFIDENCE = "confidence"

_REMEMBERED = const(8)
_RESERVE = const(2048)  # bytes that are kept free for an answer when memory is full

# answer: an Answer; reason: why it is not the model's, or ""; age: seconds since it was cached.
Reply = namedtuple("Reply", ("answer", "reason", "age"))


class FallbackError(Exception):
    """Nothing answers. reason: one of those above."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Responder:
    """Answers phrases by a session and, when that fails, by what the modes allow.

    session: None if there is no model yet; replace() puts one in. rules: a Rules, or None.
    """

    def __init__(self, session, rules=None) -> None:
        self.rules = rules
        self.modes = CACHED | RULES
        self.threshold = 0  # permille; 0: whatever the model says is an answer, even its "unknown"
        self.deadline_ms = 0
        self.fallbacks = 0  # how many requests the model has not answered
        self.reason = ""  # why the model did not answer the last of them
        self._reserve: bytearray | None = bytearray(_RESERVE)
        # The model's last answers as (context, answer, time), the oldest first; and the model's CRC-32.
        self._cache: list = []
        self._cached_of = 0
        self.replace(session)

    def replace(self, session, reason: str = "", text: str = "") -> None:
        """Answer by another session, or by none for a reason, which `text` explains.

        The cache stays until there is another model.
        """
        self.session = session
        self._absent = reason, text
        if session is not None and session.model.crc32 != self._cached_of:
            self._cached_of = session.model.crc32
            self._cache = []

    def forget(self) -> None:
        """Empty the cache, and begin to count anew."""
        self._cache = []
        self.fallbacks = 0
        self.reason = ""

    def infer(self, phrase: bytes, deadline_ms: int = 0, features=None) -> Reply:
        """Answer a phrase. deadline_ms: 0 for self.deadline_ms. features: as for Session.infer().

        Raises FallbackError if nothing answers, ValueError or UnicodeError as Session.infer() does.
        """
        context = _context(phrase, features)
        reason, text = self._absent
        unsure = None
        self._refill_reserve()
        if not reason:
            try:
                answer = self._ask(phrase, deadline_ms, features)
                if not self._is_unsure(answer):
                    self._remember(context, answer)
                    return Reply(answer, "", 0)
                unsure, reason = answer, CONFIDENCE
            except MemoryError:
                self._reserve = None
                gc.collect()
                reason, text = MEMORY, "memory full"
            except DeadlineError as error:
                reason, text = DEADLINE, str(error)
            except RuntimeError as error:
                reason, text = STACK, str(error)
        self.fallbacks += 1
        self.reason = reason
        reply = self._cached(context, reason) or self._by_rule(phrase, reason)
        if reply is None:
            if unsure is None:
                raise FallbackError(reason, text)
            reply = Reply(unsure, reason, 0)
        return reply

    def _refill_reserve(self) -> None:
        if self._reserve is None:
            try:
                self._reserve = bytearray(_RESERVE)
            except MemoryError:
                pass  # the next request tries again

    def _ask(self, phrase: bytes, deadline_ms: int, features) -> Answer:
        return self.session.infer(phrase, features, deadline_ms or self.deadline_ms)

    def _is_unsure(self, answer: Answer) -> bool:
        return answer.confidence < self.threshold

    def _remember(self, context: tuple, answer: Answer) -> None:
        if not self.modes & CACHED:
            return
        cache = self._cache
        for i in range(len(cache)):
            if cache[i][0] == context:
                cache.pop(i)
                break
        if len(cache) == _REMEMBERED:
            cache.pop(0)
        cache.append((context, answer, uptime.seconds()))

    def _cached(self, context: tuple, reason: str) -> Reply | None:
        if self.modes & CACHED:
            for known, answer, when in self._cache:
                if known == context:
                    return Reply(_from(answer, "cache"), reason, uptime.seconds() - when)
        return None

    def _by_rule(self, phrase: bytes, reason: str) -> Reply | None:
        if self.modes & RULES and self.rules is not None:
            found = self.rules.match(phrase)
            if found:
                return Reply(Answer(found[0], 0, found[1], "rule", 0, 0), reason, 0)
        return None


def _from(answer: Answer, source: str) -> Answer:
    return Answer(answer.intent, answer.confidence, answer.slots, source, 0, 0)


def _context(phrase: bytes, features) -> tuple:
    """Return what an answer depends on: the phrase without regard to case, and the sensors' tokens."""
    return phrase.lower(), bytes(features) if features else b""


def reason_of(error: Exception) -> str:
    """Name the reason why a model could not be loaded."""
    if not HAS_NATIVE:
        return NATIVE
    return MEMORY if isinstance(error, MemoryError) else MODEL
