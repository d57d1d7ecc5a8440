"""Fallback rules made from phrases: within their limits, of use, and the same for the same phrases."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.paths import STOCK_MODEL
from bitnet_cli.phrases.phrases import Phrase
from bitnet_cli.phrases.templates import PhraseBook, load
from bitnet_cli.progress import silent
from bitnet_cli.rules.generate import MAX_BYTES, MAX_RULES, generate, normalize, read_rules, rules_path
from bitnet_cli.rules.patterns import check_line
from bitnet_cli.training.recipe import Recipe
from bitnet_cli.training.train import make_labels, make_rules

HOME = Path(__file__).parents[2] / "host" / "phrases" / "home"


def match(rules: str, text: str) -> tuple[str, dict[str, str]] | None:
    """What the first rule that matches says, as boards read it."""
    phrase = normalize(text)[0].decode()
    rows = [line.split("\t") for line in rules.splitlines() if not line.startswith("#")]
    for intent, pattern, *names in rows:
        if not intent.startswith("=") and re.search(pattern, phrase):
            slots: dict[str, str] = {}
            for slot, slot_pattern, *_ in rows:
                name = slot.removeprefix("=")
                found = slot.startswith("=") and name in "".join(names).split() and name not in slots
                value = re.search(slot_pattern, phrase) if found else None
                if value:
                    slots[name] = value[1].strip()
            return intent, slots
    return None


def spoken(text: str, intent: str, **slots: str) -> Phrase:
    return Phrase(text, intent, {s: (text.index(v), text.index(v) + len(v)) for s, v in slots.items()})


@pytest.fixture(scope="module")
def phrases() -> list[Phrase]:
    rooms = ("kitchen", "hall", "attic", "cellar", "study")
    return [
        phrase
        for room in rooms
        for number in (5, 21, 60)
        for phrase in (
            spoken(f"turn the light in the {room} on", "light_on", room=room),
            spoken(f"turn the light in the {room} off", "light_off", room=room),
            spoken(f"set the {room} to {number} degrees", "heat", room=room, value=str(number)),
            spoken(f"what is the light doing with {number} moths", "unknown"),
        )
    ]


def make(phrases: list[Phrase]) -> str:
    book = PhraseBook()
    book.fixed = phrases
    return generate(phrases, make_labels(book, phrases, Recipe()), silent)


def test_rules_tell_intents_apart_and_find_slots(phrases: list[Phrase]) -> None:
    rules = make(phrases)
    for phrase in phrases:
        expected = None if phrase.intent == "unknown" else (phrase.intent, phrase.slots)
        assert match(rules, phrase.text) == expected
    assert match(rules, "Light OFF, in the attic!") == ("light_off", {"room": "attic"})


def test_few_or_odd_phrases_make_few_or_no_rules(phrases: list[Phrase]) -> None:
    assert match(make([Phrase("hello", "greet")]), "hello") is None
    slot_alone = [spoken(name, "call", who=name) for name in ("tom", "max", "ben")]
    assert match(make(slot_alone), "tom") is None
    named = [replace(phrase, intent="#" + phrase.intent) for phrase in phrases]
    assert all(line[0] in "#=" for line in make(named).splitlines())


def test_punctuation_and_other_alphabets(phrases: list[Phrase]) -> None:
    other = [Phrase(f"разбуди меня в {hour}.30 (пожалуйста)", "wake") for hour in range(10)]
    rules = make(phrases + other)
    assert match(rules, "разбуди меня в 7.30") == ("wake", {})


def test_limits_are_bytes_in_every_alphabet() -> None:
    letters = "бвгдзклмнпрстфхц"
    endings = [a + b for a in letters for b in letters]  # alone tell the intents apart: no term can be short
    phrases = [
        Phrase(f"перепроверь{endings[4 * i + k]} {other}", f"intent_with_a_name_that_is_rather_long_{i}")
        for i in range(60)
        for k in range(4)
        for other in ("сейчас", "потом")
    ]
    size = len(make(phrases).encode())
    assert 0.9 * MAX_BYTES < size <= MAX_BYTES


def test_home_rules_stay_within_their_limits(book: PhraseBook, recipe: Recipe) -> None:
    reported: dict[str, list[tuple[int, int]]] = {}
    rules = make_rules(
        book,
        recipe,
        lambda stage, done=0, total=0, note="": reported.setdefault(stage, []).append((done, total)),
    )
    assert list(reported) == ["rules of slots", "rules of intents"]
    for steps in reported.values():
        assert len(steps) > 3 and steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    lines = rules.splitlines()[1:]
    assert len(rules.encode()) <= MAX_BYTES
    assert sum(not line.startswith("=") for line in lines) <= MAX_RULES
    for line in lines:
        check_line(line)
    assert match(rules, "what's the temperature in the kitchen") == ("read_temperature", {"room": "kitchen"})


@pytest.mark.slow
def test_the_stock_rules_are_made_by_their_command() -> None:
    """`bitnet-cli rules host/phrases/home --output device/models/home.rules`."""
    assert rules_path(STOCK_MODEL).read_text() == make_rules(load([HOME]), Recipe(), silent)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a\tb*", "takes a level of the stack"),
        (b"nothing", "a rule is an intent, a pattern"),
        (b"\xff\t b", "decode"),
        (b"a\t" + b"b" * 150 + b"\t" + b"c" * 200, "255 bytes"),
        (b"=room\t in the ", "needs a group"),
        (b"a\t(b)", r"for a choice alone write \(\?: \)"),
    ],
)
def test_a_bad_line_beside_a_model_is_refused(tmp_path: Path, line: bytes, reason: str) -> None:
    (tmp_path / "m.rules").write_bytes(b"# fine\r\n\n" + line)
    with pytest.raises(BitnetError, match=rf"m\.rules:3: .*{reason}"):
        read_rules(tmp_path / "m.bitnet")


def test_a_model_may_have_no_rules(tmp_path: Path) -> None:
    assert read_rules(tmp_path / "m.bitnet") is None
