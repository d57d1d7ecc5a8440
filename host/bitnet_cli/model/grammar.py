"""Intents, slots and what may follow what in a reply, section 1.4 of native/SPEC.md."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ..errors import BitnetError
from .features import Feature, feature_keys
from .tokenizer import Encoded, Token

Int64 = npt.NDArray[np.int64]

_ROLES = ("system", "user", "assistant", "end")
_KINDS = ("text", "number")
_NO_INTENT = 0xFFFF
_HEADER = struct.Struct("<10H")


@dataclass(frozen=True)
class Labels:
    """Intents, the kind of each slot (`text` or `number`), the slots an intent may carry, and token ids.

    Made without ids, which `resolve` adds. `threshold` is in ‰; `unknown` is the intent for everything else.
    """

    intents: list[str]
    slots: dict[str, str]
    allowed: dict[str, list[str]]
    system: int = 0
    user: int = 0
    assistant: int = 0
    end: int = 0
    first_intent: int = 0
    first_slot: int = 0
    unknown: str | None = None
    threshold: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.intents) <= 1024 or len(set(self.intents)) != len(self.intents):
            raise BitnetError(f"there must be 1 to 1024 different intents, not {len(self.intents)}")
        if len(self.slots) > 32:
            raise BitnetError(f"there are {len(self.slots)} slots, the format has room for 32")
        for slot, kind in self.slots.items():
            if kind not in _KINDS:
                raise BitnetError(f"slot {slot} is of kind {kind!r}, it must be one of {_KINDS}")
        for intent, slots in self.allowed.items():
            if intent not in self.intents or not set(slots) <= set(self.slots):
                raise BitnetError(f"intent {intent} or one of its slots {list(slots)} is not declared")
        if self.unknown is not None and self.unknown not in self.intents:
            raise BitnetError(f"the unknown intent, {self.unknown}, is not among the intents")
        if not 0 <= self.threshold <= 1000:
            raise BitnetError(f"threshold is {self.threshold} ‰, it must be 0 to 1000")

    def resolve(self, tokenizer: Tokenizer) -> "Labels":
        """Return the labels with the token ids of a tokenizer trained with specials(intents, slots)."""
        keys = specials(self.intents, list(self.slots))
        ids = {key: tokenizer.token_to_id(key) for key in keys}
        first = ids[keys[0]]
        if first is None or list(ids.values()) != list(range(first, first + len(keys))):
            raise BitnetError("the tokenizer does not have these intents and slots; train them together")
        first_intent = first + len(_ROLES)
        return replace(
            self,
            system=first,
            user=first + 1,
            assistant=first + 2,
            end=first + 3,
            first_intent=first_intent,
            first_slot=first_intent + len(self.intents),
        )

    def intent_id(self, intent: str) -> int:
        """Return the token of an intent."""
        return self.first_intent + self.intents.index(intent)

    def slot_id(self, slot: str) -> int:
        """Return the token of a slot."""
        return self.first_slot + list(self.slots).index(slot)


def specials(intents: Sequence[str], slots: Sequence[str], features: Sequence[Feature] = ()) -> list[str]:
    """Return the special tokens of a model, by their keys in the vocabulary, in the order of their ids."""
    roles = [f"<|{role}|>" for role in _ROLES]
    return (
        roles
        + [f"<intent:{name}>" for name in intents]
        + [f"<slot:{name}>" for name in slots]
        + feature_keys(features)
    )


def template_beginning(labels: Labels, system: Sequence[int]) -> list[int]:
    """Return the tokens of every prompt before its phrase; `system` are those of the system text."""
    return [labels.system, *system, labels.user]


def labels_section(labels: Labels) -> bytes:
    """Return the section of the file."""
    names = list(labels.slots)
    unknown = _NO_INTENT if labels.unknown is None else labels.intents.index(labels.unknown)
    header = _HEADER.pack(
        len(labels.intents),
        len(names),
        labels.first_intent,
        labels.first_slot,
        *(getattr(labels, role) for role in _ROLES),
        unknown,
        labels.threshold,
    )
    masks = [sum(1 << names.index(s) for s in set(labels.allowed.get(i, []))) for i in labels.intents]
    kinds = bytes(_KINDS.index(kind) for kind in labels.slots.values())
    return header + struct.pack(f"<{len(masks)}I", *masks) + kinds


def read_labels(section: bytes, texts: Sequence[bytes]) -> Labels:
    """Read the labels of a section, with the names from the token texts. Raises BitnetError."""
    if len(section) < _HEADER.size:
        raise BitnetError("the labels are truncated")
    intents, slots, first_intent, first_slot, *roles, unknown, threshold = _HEADER.unpack_from(section)
    if len(section) != _HEADER.size + 4 * intents + slots:
        raise BitnetError("the labels are damaged: their tables do not fit their section")
    if max(first_intent + intents, first_slot + slots, *(role + 1 for role in roles)) > len(texts):
        raise BitnetError("the labels are damaged: they name tokens that are not there")
    masks = struct.unpack_from(f"<{intents}I", section, _HEADER.size)
    kinds = section[_HEADER.size + 4 * intents :]
    if slots > 32 or any(mask >> slots for mask in masks) or any(kind >= len(_KINDS) for kind in kinds):
        raise BitnetError("the labels are damaged: a slot is not there or of no known kind")
    if unknown != _NO_INTENT and unknown >= intents:
        raise BitnetError("the labels are damaged: the unknown intent is not there")
    try:
        intent_names = [text.decode() for text in texts[first_intent : first_intent + intents]]
        slot_names = [text.decode() for text in texts[first_slot : first_slot + slots]]
    except UnicodeDecodeError:
        raise BitnetError("the labels are damaged: a name is not UTF-8") from None
    if len(set(slot_names)) != slots:
        raise BitnetError("the labels are damaged: two slots have one name")
    pairs = zip(intent_names, masks, strict=True)
    return Labels(
        intents=intent_names,
        slots={name: _KINDS[kind] for name, kind in zip(slot_names, kinds, strict=True)},
        allowed={intent: [s for i, s in enumerate(slot_names) if mask >> i & 1] for intent, mask in pairs},
        system=roles[0],
        user=roles[1],
        assistant=roles[2],
        end=roles[3],
        first_intent=first_intent,
        first_slot=first_slot,
        unknown=None if unknown == _NO_INTENT else intent_names[unknown],
        threshold=threshold,
    )


class Reply:
    """A reply as it grows: `allowed` says what may come next, `take` appends it."""

    def __init__(self, labels: Labels, phrase: Encoded) -> None:
        self._labels = labels
        self._phrase = phrase
        self._kinds = list(labels.slots.values())
        self._starts = {kind: _starts(phrase, kind) for kind in _KINDS}
        self._next: set[int] = set(range(labels.first_intent, labels.first_intent + len(labels.intents)))
        self._free: set[int] = set()  # slots the intent allows, not yet used
        self._kind = ""  # of the slot being read
        self._places: list[int] | None = None  # P, where the value so far ends; None outside values
        self.tokens: list[int] = []

    @property
    def allowed(self) -> Int64:
        """Ids of the tokens that may come next, ascending; none after `end`."""
        return np.array(sorted(self._next), np.int64)

    def take(self, token: int) -> None:
        """Append an allowed token; raises BitnetError for any other."""
        labels = self._labels
        if token not in self._next:
            raise BitnetError(f"token {token} may not follow in a reply after {len(self.tokens)} tokens")
        slot = token - labels.first_slot
        if not self.tokens:
            intent = labels.intents[token - labels.first_intent]
            self._free = {list(labels.slots).index(name) for name in labels.allowed.get(intent, [])}
            self._next = self._slots_and_end()
        elif token == labels.end:
            self._next = set()
        elif 0 <= slot < len(self._kinds):
            self._free.remove(slot)
            self._kind = self._kinds[slot]
            self._places = None
            self._next = {self._phrase.tokens[p].id for p in self._starts[self._kind]}
        else:
            self._continue_value(token)
        self.tokens.append(token)

    def _continue_value(self, token: int) -> None:
        tokens = self._phrase.tokens
        before = self._starts[self._kind] if self._places is None else [p + 1 for p in self._places]
        self._places = [p for p in before if p < len(tokens) and tokens[p].id == token]
        after = (tokens[p + 1] for p in self._places if p + 1 < len(tokens))
        self._next = {t.id for t in after if self._may_continue(t)}
        if any(tokens[p].ends_word and self._may_end(tokens[p]) for p in self._places):
            self._next |= self._slots_and_end()

    def _may_continue(self, token: Token) -> bool:
        if self._kind != "number":
            return True
        following = self._phrase.normal[token.at + len(token.text) :][:1]
        return not token.text.startswith(b" ") and (token.text[-1:].isdigit() or following.isdigit())

    def _may_end(self, token: Token) -> bool:
        return self._kind != "number" or token.text[-1:].isdigit()

    def _slots_and_end(self) -> set[int]:
        """Return `end`, and the free slots whose value can begin somewhere."""
        slots = {self._labels.first_slot + slot for slot in self._free if self._starts[self._kinds[slot]]}
        return slots | {self._labels.end}


def reply_tokens(
    labels: Labels, phrase: Encoded, intent: str, slots: Mapping[str, tuple[int, int]]
) -> list[int] | None:
    """Return the right reply to a phrase; slots are half-open character spans of its text, in reply order.

    None if the grammar cannot express it: a value that does not begin and end with words, a number that does
    not begin with a digit or minus and a digit, or goes on behind a space, a slot the intent does not allow.
    """
    if intent not in labels.intents:
        return None
    reply = Reply(labels, phrase)
    tokens = [labels.intent_id(intent)]
    for slot, (start, end) in sorted(slots.items(), key=lambda item: item[1]):
        value = _value_tokens(phrase, start, end)
        if slot not in labels.slots or not value:
            return None
        tokens += [labels.slot_id(slot), *value]
    tokens.append(labels.end)
    try:
        for token in tokens:
            reply.take(token)
    except BitnetError:
        return None
    return tokens


def allowed_sets(labels: Labels, phrase: Encoded, reply: Sequence[int]) -> list[Int64]:
    """Return, for each token of a reply, the ids allowed in its place, ascending: int64[n] each."""
    state = Reply(labels, phrase)
    sets = []
    for token in reply:
        sets.append(state.allowed)
        state.take(token)
    return sets


def _starts(phrase: Encoded, kind: str) -> list[int]:
    """Return the positions of the tokens with which a value of this kind may begin."""
    places = [p for p, token in enumerate(phrase.tokens) if token.starts_word]
    if kind == "number":
        return [p for p in places if phrase.normal[_content(phrase, p) :].removeprefix(b"-")[:1].isdigit()]
    return places


def _content(phrase: Encoded, p: int) -> int:
    """Return where, in phrase.normal, the word of token p goes on behind its optional space."""
    return phrase.tokens[p].at + phrase.tokens[p].text.startswith(b" ")


def _value_tokens(phrase: Encoded, start: int, end: int) -> list[int]:
    """Return the tokens of the words that fill a span of characters exactly; empty if there are none."""
    tokens = phrase.tokens
    start_at = 1 + len(phrase.text[:start].encode())
    end_at = 1 + len(phrase.text[:end].encode())
    first = [p for p, token in enumerate(tokens) if token.starts_word and _content(phrase, p) == start_at]
    last = [p for p, token in enumerate(tokens) if token.ends_word and token.at + len(token.text) == end_at]
    if start >= end or not first or not last:
        return []
    return [token.id for token in tokens[first[-1] : last[0] + 1]]
