"""The device's replies are valid, and those the host's grammar and oracle give."""

import random
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.boards.at import Answer
from bitnet_cli.emulation.simulator import infer_many
from bitnet_cli.model.grammar import Labels, Reply
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.model.tokenizer import encode
from support import toy


def phrases(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    odd = ("21", "21", "5", "the", "the", "Kitchen", "KITCHEN", "-3", "2x4", "  ", "'")
    words = [*" ".join(toy.CORPUS).split(), *odd]
    fixed = [
        "x",
        "7",
        "'",
        " ",
        "  a  b ",
        "the the the the",
        "21 21 212 2",
        "Büro Ä 5",
        "1" * 60,
        "5.",
        "5. 6-",
        "-5 - 7",
        "--3.-4:5x",
    ]
    fixed.append('a;b=c"d\\e\n')
    return fixed + [" ".join(rng.choices(words, k=rng.randrange(1, 12)))[:120] for _ in range(count)]


PLAIN = ("What's the temp?", "Set the kitchen to 21 degrees", "x", "water the tomato bed for 10 minutes")


def reference(
    oracle: Oracle, labels: Labels, text: str, features: Sequence[int] = ()
) -> tuple[str, int, dict[str, str], int]:
    """Intent, confidence, slots and prompt tokens; here the model is asked for every token of the reply."""
    phrase = encode(toy.host_tokenizer(), text)
    system = encode(toy.host_tokenizer(), toy.SYSTEM)
    prompt = [labels.system, *system.ids, labels.user, *features, *phrase.ids, labels.assistant]
    oracle.reset()
    oracle.feed(prompt)
    reply = Reply(labels, phrase)
    confidence = 0
    while not reply.tokens or reply.tokens[-1] != labels.end:
        mask = bytearray((len(toy.token_texts()) + 7) // 8)
        for token in reply.allowed:
            mask[token // 8] |= 1 << token % 8
        tokens, permille = oracle.top_k(bytes(mask), 1)
        if not reply.tokens:
            confidence = int(permille[0])
            intent = labels.intents[int(tokens[0]) - labels.first_intent]
            if confidence < labels.threshold or intent == labels.unknown:
                return labels.unknown or "unknown", confidence, {}, len(prompt)
        reply.take(int(tokens[0]))
        oracle.feed([int(tokens[0])])
    return intent, confidence, values(labels, text, reply.tokens[1:-1]), len(prompt)


def values(labels: Labels, text: str, reply: list[int]) -> dict[str, str]:
    """The slots of a reply, without intent and end."""
    borders = [i for i, token in enumerate(reply) if token >= labels.first_slot] + [len(reply)]
    names = list(labels.slots)
    found = {}
    for start, end in pairwise(borders):
        name = names[reply[start] - labels.first_slot]
        found[name] = value_text(text, reply[start + 1 : end], labels.slots[name] == "number")
    return found


def value_text(text: str, value: list[int], number: bool) -> str:
    """The first place that has these tokens as whole words, and for a number can begin one."""
    tokens = encode(toy.host_tokenizer(), text).tokens
    data = (" " + text).encode()
    for first in range(len(tokens)):
        place = tokens[first : first + len(value)]
        start = place[0].at + place[0].text.startswith(b" ")
        end = place[-1].at + len(place[-1].text)
        is_number = data[start:].removeprefix(b"-")[:1].isdigit()
        whole = place[0].starts_word and place[-1].ends_word
        if [token.id for token in place] == value and whole and (is_number or not number):
            return data[start:end].decode()
    raise AssertionError(f"{value} is not in {text!r}")


@pytest.mark.parametrize(
    ("seed", "threshold", "unknown", "config"),
    [
        (1, 0, "unknown", {}),
        (2, 300, "unknown", {"weight_type": 1}),
        (3, 250, None, {"window": 8}),
        (4, 0, None, {"head_type": 2, "activation_bits": 4}),
        (5, 0, None, {"prefix": False}),
        (6, 0, None, {"window": 2}),
    ],
)
def test_equals_the_host(
    tmp_path: Path, seed: int, threshold: int, unknown: str | None, config: dict[str, int]
) -> None:
    path = tmp_path / "random.bitnet"
    path.write_bytes(toy.model(seed, threshold, unknown, **config))
    oracle = Oracle(path.read_bytes())
    asked = phrases(60, seed)
    for text, answer in zip(asked, infer_many(path, asked), strict=True):
        expected = reference(oracle, toy.labels(threshold, unknown), text)
        assert (answer.intent, answer.confidence, answer.slots, answer.prompt_tokens) == expected, text


def test_features_go_before_the_phrase(tmp_path: Path) -> None:
    """Slots stay where they are in the phrase, which may be empty."""
    path = tmp_path / "random.bitnet"
    path.write_bytes(toy.model(8))
    oracle = Oracle(path.read_bytes())
    rng = random.Random(8)
    asked = [*phrases(40, 8), "", ""]
    features = [[rng.randrange(420) for _ in range(1 + i % 7)] for i in range(len(asked))]
    answers = infer_many(path, asked, features=features)
    for text, tokens, answer in zip(asked, features, answers, strict=True):
        expected = reference(oracle, toy.labels(), text, tokens)
        assert (answer.intent, answer.confidence, answer.slots, answer.prompt_tokens) == expected, text
    assert any(answer.slots for answer in answers)


BEGINNING = len(toy.template_beginning())


@pytest.mark.parametrize("window", [0, BEGINNING, BEGINNING - 1, 256])
def test_the_stored_beginning_changes_nothing(
    on_device: Callable[..., Any], tmp_path: Path, window: int
) -> None:
    """Neither where the window is too small for it; and where it is used, it takes no memory."""
    printed, oracles = [], []
    for prefix in (True, False):
        path = tmp_path / f"{prefix}.bitnet"
        path.write_bytes(toy.model(7, prefix=prefix))
        printed.append(on_device("session.py", path, window, lines=list(PLAIN)))
        oracles.append(Oracle(path.read_bytes(), window))
    (heap, *answers), (heap_without, *answers_without) = printed
    expected = [list(reference(oracles[1], toy.labels(), text)) for text in PLAIN]
    assert answers == answers_without == expected
    snapshot_size = 4 * oracles[0].config.hidden_size
    assert (heap + snapshot_size < heap_without) == (window != BEGINNING - 1)


@pytest.mark.parametrize("seed", range(10, 16))
def test_always_valid(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "random.bitnet"
    path.write_bytes(toy.model(seed, unknown=None))
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
        if toy.SLOTS[slot] == "number":
            assert re.fullmatch(r"-?[0-9](\S*[0-9])?", value)
            assert " " not in value
