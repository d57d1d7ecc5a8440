"""Fallback rules in the real MicroPython: what matches, which patterns are taken, and that nothing breaks."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.boards.at import AtClient
from bitnet_cli.emulation import simulator
from bitnet_cli.paths import STOCK_MODEL
from bitnet_cli.phrases.phrases import read_phrases
from bitnet_cli.rules import patterns
from bitnet_cli.rules.generate import normalize, rules_path
from support.texts import awkward_texts

HOME = Path(__file__).parents[2] / "host" / "phrases" / "home"
DEFAULT = """# comments and empty lines are no rules

set_temperature\t set .*?degrees \tvalue unit room
water\t water (.+?) for (\\d+? minutes)\tzone duration
light_on\t lights? on | on .*?light\troom
=value\t (-?\\d+?[.,]?\\d*?) \r
=unit\t (degrees|celsius) 
=room\t (kitchen|living room|caf.) 
=room\t in the (.+?) $
"""  # noqa: W291
USER = "feed_cat\t feed (.+?) $\tcat\n=room\t (lab) \n"


@pytest.fixture
def match(on_device: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """match(phrases, default=…, user=…): what the rules say of each phrase."""

    def run(*phrases: str | bytes, default: str | bytes = DEFAULT, user: str | bytes = USER) -> Any:
        paths = [tmp_path / "default.rules", tmp_path / "user.rules"]
        for path, content in zip(paths, (default, user), strict=True):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        as_bytes = [phrase.encode() if isinstance(phrase, str) else phrase for phrase in phrases]
        return on_device("rules.py", *paths, lines=[phrase.hex() for phrase in as_bytes])

    return run


def test_intents_and_slots_as_they_stand_in_the_phrase(match: Callable[..., Any]) -> None:
    found = match(
        "Set the Kitchen to 21.5 Degrees!",
        "set it to -3 degrees in the Old Mill, please",
        "Water the tomato bed for 10 minutes",
        "turn on the Kids' light in the Lab",
        "Feed O'Malley and Tom",
        "who won?",
        "",
    )
    assert found == [
        ["set_temperature", {"value": "21.5", "unit": "Degrees", "room": "Kitchen"}, 0],
        ["set_temperature", {"value": "-3", "unit": "degrees", "room": "Old Mill, please"}, 0],
        ["water", {"zone": "the tomato bed", "duration": "10 minutes"}, 0],
        ["light_on", {"room": "Lab"}, 0],
        ["feed_cat", {"cat": "O'Malley and Tom"}, 0],
        [0],
        [0],
    ]


def test_missing_files_match_nothing(on_device: Callable[..., Any], tmp_path: Path) -> None:
    assert on_device("rules.py", tmp_path / "none", tmp_path / "none.user", lines=[b"hello".hex()]) == [[0]]


def test_damaged_lines_are_skipped_and_counted(match: Callable[..., Any]) -> None:
    long = "x" * 5000
    damaged = f"no_pattern\nopen\t (\n{long}\n\xff\n{long}\nlast\t hello \tname\n=name\t(\n=name\t (world) "
    (found,) = match("hello world", default=damaged.encode("latin-1"), user="")
    assert found == ["last", {"name": "world"}, 6]


def test_a_file_of_noise(match: Callable[..., Any]) -> None:
    rng = random.Random(1)
    for _ in range(20):
        noise = bytes(rng.choice(b"ab \t\n()[]|?*+.=#\\\xff") for _ in range(4000))
        for found in match("a b", "aa bb (", b"\xff\xfe", default=noise):
            assert found[-1] >= 0


def test_values_that_are_no_utf_8_are_left_out(match: Callable[..., Any]) -> None:
    assert (
        match("lights on café", b"lights on \xff\xff", b"lights on in the \xff") == [["light_on", {}, 0]] * 3
    )


def test_too_long_phrases_match_nothing(match: Callable[..., Any]) -> None:
    phrase = "lights on" + " please" * 40
    assert match(phrase[:255], phrase[:256]) == [["light_on", {}, 0], [0]]


def test_a_board_with_a_damaged_model_answers_by_its_rules(tmp_path: Path) -> None:
    (tmp_path / "m.bitnet").write_bytes(b"damaged")
    (tmp_path / "m.rules").write_text("greet\t hello \n")
    with simulator.SimulatedBoard(tmp_path / "m.bitnet") as board, AtClient(board.port) as client:
        answer = client.infer("Hello")
    assert (answer.intent, answer.source) == ("greet", "rule")


def test_stock_rules_reach_their_marks(on_device: Callable[..., Any], tmp_path: Path) -> None:
    """In 192 KB of heap. In front of them the user's file is missing, as on a new unit."""
    phrases = read_phrases(HOME / "test.jsonl")
    lines = [phrase.text.encode().hex() for phrase in phrases]
    found = on_device("rules.py", rules_path(STOCK_MODEL), tmp_path / "none", lines=lines, heap="192k")
    assert all(answer[-1] == 0 for answer in found)
    inside = [(p, a) for p, a in zip(phrases, found, strict=True) if p.intent != "unknown"]
    outside = [a for p, a in zip(phrases, found, strict=True) if p.intent == "unknown"]
    answered = sum(len(a) > 1 for _, a in inside) / len(inside)
    right = sum(a[0] == p.intent for p, a in inside) / len(inside)
    exact = sum(a[:2] == [p.intent, p.slots] for p, a in inside) / len(inside)
    accepted = sum(len(a) > 1 for a in outside) / len(outside)
    print(f"intent {right:.1%}, wrong {answered - right:.1%}, and slots {exact:.1%}")
    print(f"out of scope accepted {accepted:.1%} of {len(outside)}")
    assert right >= 0.45 and exact >= 0.28
    assert answered - right <= 0.05 and accepted <= 0.15


def test_any_phrase_with_a_small_stack(on_device: Callable[..., Any], tmp_path: Path) -> None:
    """Long phrases of words that rules look for. 6,000 bytes are half of that on a board's 32 bits."""
    rng = random.Random(3)
    words = re.findall("[a-z]+", rules_path(STOCK_MODEL).read_text())
    phrases = [phrase.encode() for phrase in awkward_texts(300)]
    phrases += [" ".join(rng.choices(words, k=60)).encode() for _ in range(100)]
    phrases += [(rng.choice(words) + " ").encode() * 200 for _ in range(100)]
    lines = [phrase[:255].hex() for phrase in phrases]
    found = on_device("rules.py", rules_path(STOCK_MODEL), tmp_path / "none", 6000, lines=lines)
    assert [answer[-1] for answer in found] == [0] * len(phrases)


def test_no_stack_at_all_is_no_fault(on_device: Callable[..., Any], tmp_path: Path) -> None:
    for stack in range(1200, 3000, 200):
        lines = [b"turn on the lights".hex()]
        (answer,) = on_device("rules.py", rules_path(STOCK_MODEL), tmp_path / "none", stack, lines=lines)
        assert answer[-1] >= 0


def test_editing_the_users_rules(on_device: Callable[..., Any], tmp_path: Path) -> None:
    edits = [
        ["add", "feed\t feed (.+?) $\tcat"],
        ["add", "café\t café "],
        ["add", "bad\t a*"],
        ["add", "two\nlines\t a"],
        ["remove", 3],
        ["remove", 0],
        ["remove", 1],
        ["add", "=cat\t (tom) "],
    ]
    found = on_device(
        "edit_rules.py", tmp_path / "user.rules", lines=[json.dumps(e, ensure_ascii=False) for e in edits]
    )
    feed, cafe, tom = "feed\t feed (.+?) $\tcat", "café\t café ", "=cat\t (tom) "
    assert [answer[1:] for answer in found] == [
        [feed],
        [feed, cafe],
        [feed, cafe],
        [feed, cafe],
        [feed, cafe],
        [feed, cafe],
        [cafe],
        [cafe, tom],
    ]
    reasons = [answer[0] for answer in found]
    assert reasons[0] is reasons[1] is reasons[6] is reasons[7] is None
    assert "takes a level of the stack" in reasons[2] and "control characters" in reasons[3]
    assert reasons[4] == "there is no rule 3" and reasons[5] == "there is no rule 0"
    assert (tmp_path / "user.rules").read_text() == f"{cafe}\n{tom}\n"
    assert not (tmp_path / "user.rules.new").exists()


def test_normal_form_equals_the_hosts(on_device: Callable[..., Any]) -> None:
    phrases = [phrase for phrase in awkward_texts(2000) if len(phrase.encode()) < 256]
    phrases += [
        "What's 21°C?",
        "what’s up",
        "-3-4 5,000 6:30am 50%",
        "’",
        "9",
        "9a",
        "a’b",
        "1.a 1. -",
        "1%2",
    ]
    found = on_device("normalize.py", lines=[phrase.encode().hex() for phrase in phrases])
    for phrase, (data, places) in zip(phrases, found, strict=True):
        assert (bytes.fromhex(data), places) == normalize(phrase), phrase


def test_patterns_are_judged_as_on_the_host(on_device: Callable[..., Any]) -> None:
    """And all that are accepted can be compiled."""
    rng = random.Random(2)
    some = [random_pattern(rng) for _ in range(6000)]
    found = on_device("patterns.py", lines=[json.dumps(pattern, ensure_ascii=False) for pattern in some])
    assert found == [judge(pattern) for pattern in some]
    assert 0.2 < sum(isinstance(answer, int) for answer in found) / len(found) < 0.8


def judge(pattern: str) -> int | str:
    try:
        return patterns.check(pattern)
    except ValueError as error:
        return str(error)


def random_pattern(rng: random.Random) -> str:
    pieces = [
        " on ",
        "light",
        "s?",
        ".*?",
        ".+?",
        "(",
        ")",
        "(?:",
        "|",
        "[^ ]+?",
        "\\d+?",
        "$",
        "^",
        "é",
        " ",
    ]
    rare = [
        "*",
        "+",
        "?",
        "{2}",
        "\\b",
        "\\",
        "[",
        "]",
        "[a-z]",
        "[z-a]",
        "[^",
        "X",
        "(?=",
        "🙂",
        "a" * 40,
        "\\.",
    ]
    drawn = "".join(rng.choice(rare if rng.random() < 0.05 else pieces) for _ in range(rng.randrange(1, 12)))
    return drawn + ")" * max(0, drawn.count("(") - drawn.count(")"))
