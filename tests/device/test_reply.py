"""The device's replies are valid, and equal to those of a reference that follows SPEC 1.4 word by word."""

import random
import re
from pathlib import Path

import pytest
import toy
from bitnet_cli import tokenizer
from bitnet_cli.at import Answer
from bitnet_cli.oracle import Oracle
from bitnet_cli.simulator import infer_many

FIRST_INTENT = toy.token(f"<intent:{toy.INTENTS[0]}>")
FIRST_SLOT = toy.token(f"<slot:{toy.SLOTS[0]}>")
SYSTEM, USER, ASSISTANT, END = map(toy.token, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"))


def phrases(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = [
        *" ".join(toy.CORPUS).split(),
        "21",
        "21",
        "5",
        "the",
        "the",
        "Kitchen",
        "KITCHEN",
        "-3",
        "2x4",
        "  ",
        "'",
    ]
    fixed = [
        "x",
        "7",
        "'",
        " ",
        "  a  b ",
        "the the the the",
        "21 21 212 2",
        'a;b=c"d\\e\n',
        "Büro Ä 5",
        "1" * 60,
    ]
    return fixed + [" ".join(rng.choices(words, k=rng.randrange(1, 12)))[:120] for _ in range(count)]


class Phrase:
    """A phrase as the grammar sees it."""

    def __init__(self, text: str) -> None:
        encoded = tokenizer.encode(toy.host_tokenizer(), text)
        self._data = b" " + text.encode()
        self._tokens = encoded.tokens
        self.tokens = encoded.ids
        self.pieces = [token.text for token in encoded.tokens]

    def may_start(self, k: int, number: bool) -> bool:
        token = self._tokens[k]
        first = self._data[token.at :].removeprefix(b" ")[:1]
        return token.starts_word and (not number or first.isdigit())

    def may_end(self, k: int) -> bool:
        return self._tokens[k].ends_word

    def span(self, k: int, length: int) -> str:
        first, last = self._tokens[k], self._tokens[k + length - 1]
        return self._data[first.at : last.at + len(last.text)].removeprefix(b" ").decode()


def reference(
    oracle: Oracle, text: str, threshold: int, unknown: int
) -> tuple[str, int, dict[str, str], int]:
    """The reply with a model that is asked for every token, and sets instead of bit masks."""
    phrase = Phrase(text)
    system = toy.host_tokenizer().encode("home").ids
    prompt = [SYSTEM, *system, USER, *phrase.tokens, ASSISTANT]
    oracle.reset()
    oracle.feed(prompt)

    def choose(allowed: set[int]) -> tuple[int, int]:
        mask = bytearray((len(toy.token_texts()) + 7) // 8)
        for token in allowed:
            mask[token // 8] |= 1 << token % 8
        choice = oracle.top_k(bytes(mask), 1)
        return int(choice[0][0]), int(choice[1][0])

    best, confidence = choose(set(range(FIRST_INTENT, FIRST_SLOT)))
    intent = best - FIRST_INTENT
    if confidence < threshold or intent == unknown:
        return ("unknown" if unknown == toy.NO_UNKNOWN else toy.INTENTS[unknown]), confidence, {}, len(prompt)
    oracle.feed([best])
    free = list(toy.ALLOWED.get(toy.INTENTS[intent], ()))
    places = range(len(phrase.tokens))

    def next_slots() -> set[int]:
        can = {s for s in free if any(phrase.may_start(k, s in toy.NUMBERS) for k in places)}
        return {END} | {FIRST_SLOT + toy.SLOTS.index(s) for s in can}

    slots: dict[str, str] = {}
    token, _ = choose(next_slots())
    while token != END:
        slot = toy.SLOTS[token - FIRST_SLOT]
        number = slot in toy.NUMBERS
        free.remove(slot)
        oracle.feed([token])
        value: list[int] = []
        allowed = {phrase.tokens[k] for k in places if phrase.may_start(k, number)}
        while True:
            token, _ = choose(allowed)
            if token == END or FIRST_SLOT <= token < SYSTEM:
                break
            oracle.feed([token])
            value.append(token)
            n = len(value)
            found = [k for k in places if phrase.may_start(k, number) and phrase.tokens[k : k + n] == value]
            following = {k + n for k in found if k + n < len(phrase.tokens)}
            allowed = {phrase.tokens[p] for p in following if not (number and phrase.pieces[p][:1] == b" ")}
            complete = [k for k in found if phrase.may_end(k + n - 1)]
            if complete:
                allowed |= next_slots()
        slots[slot] = phrase.span(complete[0], n)
    return toy.INTENTS[intent], confidence, slots, len(prompt)


@pytest.mark.parametrize(
    ("seed", "threshold", "unknown", "config"),
    [
        (1, 0, toy.UNKNOWN, {}),
        (2, 300, toy.UNKNOWN, {"weight_type": 1}),
        (3, 250, toy.NO_UNKNOWN, {"window": 8}),
        (4, 0, toy.NO_UNKNOWN, {"head_type": 2, "activation_bits": 4}),
    ],
)
def test_equals_the_reference(
    tmp_path: Path, seed: int, threshold: int, unknown: int, config: dict[str, int]
) -> None:
    path = tmp_path / "random.bitnet"
    path.write_bytes(toy.model(seed, threshold, unknown, **config))
    oracle = Oracle(path.read_bytes())
    asked = phrases(40, seed)
    for text, answer in zip(asked, infer_many(path, asked), strict=True):
        expected = reference(oracle, text, threshold, unknown)
        assert (answer.intent, answer.confidence, answer.slots, answer.prompt_tokens) == expected, text


@pytest.mark.parametrize("seed", range(10, 16))
def test_always_valid(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "random.bitnet"
    path.write_bytes(toy.model(seed, unknown=toy.NO_UNKNOWN))
    asked = phrases(300, seed)
    answers = infer_many(path, asked)
    for text, answer in zip(asked, answers, strict=True):
        check(text, answer)
    assert any(answer.slots for answer in answers)


def check(text: str, answer: Answer) -> None:
    assert answer.intent in toy.INTENTS
    assert 0 <= answer.confidence <= 1000
    for slot, value in answer.slots.items():
        assert slot in toy.ALLOWED[answer.intent]
        assert value in text
        if slot in toy.NUMBERS:
            assert re.match(r"[0-9]", value)
            assert " " not in value
