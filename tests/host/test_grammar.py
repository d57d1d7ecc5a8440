"""The grammar: right replies are allowed, every walk ends in a valid reply, labels survive the file."""

import random
import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.model import grammar
from bitnet_cli.model.grammar import Labels, Reply
from bitnet_cli.model.tokenizer import Encoded, encode, read_section, tokenizer_section, train_tokenizer
from tokenizers import Tokenizer

BARE = Labels(
    intents=["unknown", "set_temperature", "read_temperature", "set_timer"],
    slots={"value": "number", "unit": "text", "room": "text"},
    allowed={
        "set_temperature": ["value", "unit", "room"],
        "read_temperature": ["room"],
        "set_timer": ["value"],
    },
    unknown="unknown",
    threshold=500,
)
CORPUS = [
    "set the living room to 21.5 degrees",
    "what's the temp in the kitchen?",
    "timer of 10 minutes 2 3",
] * 3
KEYS = grammar.specials(BARE.intents, list(BARE.slots))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(CORPUS, 340, KEYS)


@pytest.fixture(scope="module")
def labels(tokenizer: Tokenizer) -> Labels:
    return BARE.resolve(tokenizer)


def spans(text: str, **values: str) -> dict[str, tuple[int, int]]:
    return {slot: (text.index(value), text.index(value) + len(value)) for slot, value in values.items()}


def written(labels: Labels, phrase: Encoded, reply: list[int]) -> str:
    """A reply for the eye: <intent>, <slot> and <end> between the texts of value tokens."""
    names = {labels.end: b"<end>", **{labels.intent_id(i): f"<{i}>".encode() for i in labels.intents}}
    names |= {labels.slot_id(s): f"<{s}>".encode() for s in labels.slots}
    names |= {token.id: token.text for token in phrase.tokens}
    return b"".join(names[token] for token in reply).decode()


def test_resolved_ids_follow_the_order_of_the_specials(tokenizer: Tokenizer, labels: Labels) -> None:
    ids = [labels.system, labels.user, labels.assistant, labels.end]
    ids += [*map(labels.intent_id, labels.intents), *map(labels.slot_id, labels.slots)]
    assert ids == [tokenizer.token_to_id(key) for key in KEYS] == list(range(ids[0], ids[0] + len(KEYS)))
    with pytest.raises(BitnetError, match="train them together"):
        replace(BARE, intents=[*BARE.intents, "more"]).resolve(tokenizer)


def test_reply_copies_values_in_their_order(tokenizer: Tokenizer, labels: Labels) -> None:
    text = "Set the Living Room to 21.5 degrees"
    phrase = encode(tokenizer, text)
    slots = spans(text, value="21.5", unit="degrees", room="Living Room")
    reply = grammar.reply_tokens(labels, phrase, "set_temperature", slots)
    assert reply is not None
    expected = "<set_temperature><room> living room<value> 21.5<unit> degrees<end>"
    assert written(labels, phrase, reply) == expected


@pytest.mark.parametrize(
    ("text", "intent", "values"),
    [
        ("set it to 21.5 degrees", "set_temperature", {"value": "1.5 degrees"}),  # goes on behind a space
        ("set it to 21.5 degrees", "set_temperature", {"value": "degrees"}),  # no digit
        ("set it to -", "set_temperature", {"value": "-"}),
        ("set it to 21.", "set_temperature", {"value": "21."}),
        ("the kitchen", "read_temperature", {"room": "kitch"}),  # not a whole word
        ("the kitchen", "read_temperature", {"room": "itchen"}),
        ("the kitchen", "read_temperature", {"room": " kitchen"}),
        ("the kitchen", "read_temperature", {"room": ""}),
        ("the kitchen", "unknown", {"room": "kitchen"}),  # not one of its slots
        ("the kitchen", "read_temperature", {"door": "kitchen"}),
        ("the kitchen", "no_such_intent", {}),
        ("", "read_temperature", {"room": ""}),
    ],
)
def test_what_the_grammar_cannot_say_is_none(
    tokenizer: Tokenizer, labels: Labels, text: str, intent: str, values: dict[str, str]
) -> None:
    phrase = encode(tokenizer, text)
    assert grammar.reply_tokens(labels, phrase, intent, spans(text, **values)) is None


@pytest.mark.parametrize(
    "text",
    ["kitchen", "is the kitchen's ok", "the  kitchen", "(kitchen)", "kitchen?", "3kitchen4", "Ükitchen"],
)
def test_values_stand_anywhere(tokenizer: Tokenizer, labels: Labels, text: str) -> None:
    phrase = encode(tokenizer, text)
    reply = grammar.reply_tokens(labels, phrase, "read_temperature", spans(text, room="kitchen"))
    assert reply is not None
    assert written(labels, phrase, reply).replace("> ", ">") == "<read_temperature><room>kitchen<end>"


def test_allowed_sets_by_hand(tokenizer: Tokenizer, labels: Labels) -> None:
    text = "2 to 21 b"  # words: " 2", " to", " 2", "1", " b"
    phrase = encode(tokenizer, text)
    by_text = {token.text: token.id for token in phrase.tokens}
    assert set(by_text) == {b" 2", b" to", b"1", b" b"} or set(by_text) == {b" 2", b" to", b"1", b" ", b"b"}
    reply = grammar.reply_tokens(labels, phrase, "set_timer", {"value": (5, 7)})
    assert reply is not None
    sets = grammar.allowed_sets(labels, phrase, reply)
    value = labels.slot_id("value")
    assert reply == [labels.intent_id("set_timer"), value, by_text[b" 2"], by_text[b"1"], labels.end]
    assert sets[0].tolist() == [labels.intent_id(intent) for intent in labels.intents]
    assert sets[1].tolist() == [labels.end, value]
    assert sets[2].tolist() == sorted([by_text[b" 2"], by_text[b"1"]])
    assert sets[3].tolist() == sorted([by_text[b"1"], labels.end])
    assert sets[4].tolist() == [labels.end]
    assert all(one.dtype == np.int64 for one in sets)


def test_slots_without_a_place_to_begin_are_not_allowed(tokenizer: Tokenizer, labels: Labels) -> None:
    for text, free in (("", []), ("the kitchen", ["unit", "room"]), ("7", ["value", "unit", "room"])):
        reply = Reply(labels, encode(tokenizer, text))
        reply.take(labels.intent_id("set_temperature"))
        assert reply.allowed.tolist() == [labels.end, *map(labels.slot_id, free)]


def test_a_number_that_began_elsewhere_does_not_go_on_there(tokenizer: Tokenizer, labels: Labels) -> None:
    """The token of a lone space begins " é" as well as " 9", but only one of them is a number."""
    phrase = encode(tokenizer, "é 9")
    space, nine = phrase.tokens[0].id, phrase.tokens[-1].id
    assert [token.id for token in phrase.tokens if token.starts_word] == [space, space]
    reply = Reply(labels, phrase)
    for token in (labels.intent_id("set_timer"), labels.slot_id("value")):
        reply.take(token)
    assert reply.allowed.tolist() == [space]
    reply.take(space)
    assert reply.allowed.tolist() == [nine]


def test_every_walk_ends_in_a_valid_reply(tokenizer: Tokenizer, labels: Labels) -> None:
    rng = random.Random(0)
    pieces = [
        *"2%é\0",
        "kitchen",
        "living room",
        "the the",
        "21.5",
        "'s",
        "'",
        "",
        " ",
        "日本",
        "1 1 1",
    ]
    for _ in range(600):
        text = " ".join(rng.choices(pieces, k=rng.randrange(8)))
        phrase = encode(tokenizer, text)
        reply = Reply(labels, phrase)
        while len(reply.allowed):
            assert len(reply.tokens) < 4 + 3 * (len(phrase.tokens) + 1)
            reply.take(rng.choice(reply.allowed.tolist()))
        check_reply(labels, phrase, reply.tokens)
        sets = grammar.allowed_sets(labels, phrase, reply.tokens)
        assert all(token in allowed for token, allowed in zip(reply.tokens, sets, strict=True))


def check_reply(labels: Labels, phrase: Encoded, tokens: list[int]) -> None:
    """intent (slot value)* end, each slot once and allowed, each value a run of whole words of the phrase."""
    assert tokens[-1] == labels.end
    intent = labels.intents[tokens[0] - labels.first_intent]
    slot_at = [
        i for i, t in enumerate(tokens) if labels.first_slot <= t < labels.first_slot + len(labels.slots)
    ]
    used = [list(labels.slots)[tokens[i] - labels.first_slot] for i in slot_at]
    assert len(set(used)) == len(used)
    assert set(used) <= set(labels.allowed.get(intent, []))
    for slot, (start, end) in zip(used, pairwise([*slot_at, len(tokens) - 1]), strict=True):
        value = tokens[start + 1 : end]
        places = [
            p
            for p in range(len(phrase.tokens))
            if phrase.ids[p : p + len(value)] == value
            and phrase.tokens[p].starts_word
            and phrase.tokens[p + len(value) - 1].ends_word
        ]
        assert value and places
        if labels.slots[slot] == "number":
            number = b"".join(token.text for token in phrase.tokens[places[0] : places[0] + len(value)])
            assert number.removeprefix(b" ").removeprefix(b"-")[:1].isdigit()
            assert b" " not in number[1:]


def test_reply_refuses_what_may_not_follow(tokenizer: Tokenizer, labels: Labels) -> None:
    reply = Reply(labels, encode(tokenizer, "the kitchen"))
    for wrong in (labels.end, labels.slot_id("room"), 65):
        with pytest.raises(BitnetError, match="may not follow"):
            reply.take(wrong)
    assert reply.tokens == []


# --- the section ---


def test_labels_survive_the_file(tokenizer: Tokenizer, labels: Labels) -> None:
    names = read_section(tokenizer_section(tokenizer, KEYS)).texts
    section = grammar.labels_section(labels)
    assert len(section) == 20 + 4 * 4 + 3
    assert struct.unpack_from("<4I", section, 20) == (0, 7, 4, 1)
    assert section[-3:] == bytes([1, 0, 0])
    found = grammar.read_labels(section, names)
    assert replace(found, allowed=labels.allowed) == labels
    assert {k: v for k, v in found.allowed.items() if v} == labels.allowed
    no_unknown = replace(labels, unknown=None)
    assert grammar.read_labels(grammar.labels_section(no_unknown), names).unknown is None


def test_damaged_labels_are_refused(tokenizer: Tokenizer, labels: Labels) -> None:
    names = read_section(tokenizer_section(tokenizer, KEYS)).texts
    section = grammar.labels_section(labels)
    for length in range(len(section)):
        with pytest.raises(BitnetError, match="labels"):
            grammar.read_labels(section[:length], names)
    cases = [
        (4, 0xFFFF),
        (6, len(names)),
        (8, len(names)),
        (14, len(names)),
        (16, 4),
        (18, 1001),
        (20, 8),
        (36, 2),
    ]
    for offset, value in cases:
        damaged = bytearray(section)
        struct.pack_into("<B" if offset == 36 else "<H", damaged, offset, value)
        with pytest.raises(BitnetError):
            grammar.read_labels(bytes(damaged), names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intents": []}, "1 to 1024"),
        ({"intents": ["unknown"] * 2}, "1 to 1024"),
        ({"slots": {f"s{i}": "text" for i in range(33)}}, "33 slots"),
        ({"slots": {"value": "date", "unit": "text", "room": "text"}}, "kind 'date'"),
        ({"allowed": {"set_timer": ["door"]}}, "not declared"),
        ({"allowed": {"nope": []}}, "not declared"),
        ({"unknown": "nope"}, "nope"),
        ({"threshold": 1001}, "threshold"),
    ],
)
def test_unsound_labels_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BitnetError, match=message):
        replace(BARE, **change)  # type: ignore[arg-type]
