"""Templates: what is drawn from them, where the slots stand, and what is refused."""

import random
from collections import Counter
from pathlib import Path

import pytest
import yaml
from bitnet_cli.errors import BitnetError
from bitnet_cli.phrases.phrases import Phrase, is_number, read_phrases
from bitnet_cli.phrases.templates import PhraseBook, load, made_up_word
from bitnet_cli.training.dataset import draw

HOME = Path(__file__).parents[2] / "host" / "phrases" / "home"

LISTS = """
lists:
  room: {values: [kitchen, living room, "(guest|bed) room"]}
  level: {range: {from: 10, to: 50, step: 20}}
  cold: {range: {from: -5, to: -5}}
  half: {range: {from: 3, to: 3, fractions: halves}}
  item: {wildcard: true}
  speed: {values: [{in: slowest, out: 1}, {in: "[very] fast", out: "fast"}, {in: "2", out: 2}]}
expansion_rules:
  the: "[the]"
  in_room: "in <the> {room}"
"""


def book_of(folder: Path, *sentences: str, common: str = LISTS, **data: object) -> PhraseBook:
    """A book with one intent, `go`."""
    document = {"language": "en", "intents": {"go": {"data": [{"sentences": list(sentences), **data}]}}}
    path = folder / "go.yaml"
    path.write_text(yaml.safe_dump(document) + common)
    return load([path])


def drawn(book: PhraseBook, count: int = 200, intent: str = "go") -> list[Phrase]:
    rng = random.Random(1)
    return [book.sample(rng, intent) for _ in range(count)]


def seen(book: PhraseBook, count: int = 200) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Distinct texts and slots."""
    return {(phrase.text, tuple(phrase.slots.items())) for phrase in drawn(book, count)}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("stop [it] now", {"stop now", "stop it now"}),
        ("(stop|halt) it", {"stop it", "halt it"}),
        ("stop(ped|) it", {"stopped it", "stop it"}),
        ("light[s] on", {"light on", "lights on"}),
        ("go [(now|at once)]", {"go", "go now", "go at once"}),
        ("(please;(stop|halt))", {"please stop", "stop please", "please halt", "halt please"}),
        ("  much   space ", {"much space"}),
        ("Keep THE Case", {"Keep THE Case"}),
    ],
)
def test_texts(tmp_path: Path, sentence: str, expected: set[str]) -> None:
    assert {phrase.text for phrase in drawn(book_of(tmp_path, sentence))} == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("go to {level}", {("level", "10"), ("level", "30"), ("level", "50")}),
        ("go to {level:value}%", {("value", "10"), ("value", "30"), ("value", "50")}),
        ("go to {cold}", {("cold", "-5")}),
        ("go to {half}", {("half", "3"), ("half", "3.5")}),
        ("go to {4..8,2:value}", {("value", "4"), ("value", "6"), ("value", "8")}),
        ("go to {speed}", {("speed", "fast"), ("speed", "2"), ()}),
        ("go to {room}", {("room", r) for r in ("kitchen", "living room", "guest room", "bed room")}),
        ("go <in_room> now", {("room", r) for r in ("kitchen", "living room", "guest room", "bed room")}),
    ],
)
def test_slots(tmp_path: Path, sentence: str, expected: set[tuple[str, str] | tuple[()]]) -> None:
    assert {slots[0] if slots else () for _, slots in seen(book_of(tmp_path, sentence))} == expected


def test_spans_stand_exactly_at_the_values(tmp_path: Path) -> None:
    book = book_of(tmp_path, "[(please|kindly)] set(  [the] {room}'s lights ; to {level:value}% )")
    phrases = drawn(book)
    assert all(phrase.slots.keys() == {"room", "value"} for phrase in phrases)
    for phrase in phrases:
        room, value = phrase.spans["room"], phrase.spans["value"]
        assert phrase.text[room[1] :].startswith("'s lights")
        assert phrase.text[: value[0]].endswith("to ")
        assert phrase.text[value[1]] == "%"
        assert is_number(phrase.slots["value"])
        assert "  " not in phrase.text and phrase.text == phrase.text.strip()
    assert {phrase.text.index("to ") < phrase.text.index("lights") for phrase in phrases} == {True, False}


def test_wildcards_are_words_old_and_new(tmp_path: Path) -> None:
    phrases = drawn(book_of(tmp_path, "(add|put) {item} on the shopping list"))
    lengths = Counter(len(phrase.slots["item"].split()) for phrase in phrases)
    assert set(lengths) == {1, 2, 3, 4, 5}
    words = {word for phrase in phrases for word in phrase.slots["item"].split()}
    assert {"add", "shopping", "list"} < words
    assert len(words) > 100
    alone = drawn(book_of(tmp_path, "{item}"))
    assert all(phrase.slots["item"] == phrase.text for phrase in alone)


def test_made_up_words_can_be_said() -> None:
    rng = random.Random(0)
    words = {made_up_word(rng) for _ in range(1000)}
    assert len(words) > 700
    assert all(word.isascii() and word.isalpha() and any(v in word for v in "aeiou") for word in words)


def test_a_fixed_slot_counts_where_it_stands_in_the_text(tmp_path: Path) -> None:
    path = tmp_path / "fans.yaml"
    path.write_text(
        """
intents:
  go:
    data:
      - sentences: ["all fans on", "fans on", "overall fans"]
        slots: {name: all, domain: fans}
      - sentences: ["{name} on"]
lists: {name: {values: [tall lamp]}}
"""
    )
    slots = {phrase.text: phrase.spans for phrase in drawn(load([path]))}
    # No sentence has a list for `domain`: it is no slot that could be read from a text.
    assert slots == {
        "all fans on": {"name": (0, 3)},
        "fans on": {},
        "overall fans": {},
        "tall lamp on": {"name": (0, 9)},
    }


FIXTURES = """
areas:
  - {name: Kitchen, id: kitchen}
  - {name: Living Room, id: living_room}
floors: [{name: First floor, id: first}]
entities:
  - {name: Ceiling Light, id: light.ceiling}
  - {name: Fan, id: fan.one}
  - {name: Left curtain, id: cover.left, attributes: {device_class: curtain}}
  - {name: Gate, id: cover.gate, attributes: {device_class: garage}}
"""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, {"ceiling light", "fan", "left curtain", "gate"}),
        ({"requires_context": {"domain": "light"}}, {"ceiling light"}),
        ({"requires_context": {"domain": ["light", "fan"]}}, {"ceiling light", "fan"}),
        ({"requires_context": {"device_class": {"value": ["garage"]}, "domain": "cover"}}, {"gate"}),
        ({"excludes_context": {"domain": ["cover", "fan"]}}, {"ceiling light"}),
        ({"name_domains": ["fan"]}, {"fan"}),
        ({"lists": {"name": {"values": ["my own"]}}}, {"my own"}),
        # Nothing in this home fits: any entity is better than no phrase.
        ({"requires_context": {"domain": "vacuum"}}, {"ceiling light", "fan", "left curtain", "gate"}),
    ],
)
def test_entities_are_chosen_by_their_context(
    tmp_path: Path, data: dict[str, object], expected: set[str]
) -> None:
    phrases = drawn(book_of(tmp_path, "turn {name} on in {area} on {floor}", common=FIXTURES, **data))
    assert {phrase.slots["name"] for phrase in phrases} == expected
    assert {phrase.slots["area"] for phrase in phrases} == {"kitchen", "living room"}
    assert {phrase.slots["floor"] for phrase in phrases} == {"first floor"}


def test_files_are_merged_and_test_files_left_out(tmp_path: Path) -> None:
    """Home Assistant's layout: lists in one file, an intent in a folder of its own, or in several files."""
    (tmp_path / "_common.yaml").write_text("language: en" + LISTS)
    for place, sentence in (("HassGo/a.yaml", "go <in_room>"), ("HassGo/b.yaml", "walk <in_room>")):
        path = tmp_path / "sentences" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'language: en\ndata: [{{sentences: ["{sentence}"]}}]\n')
    (tmp_path / "also.yaml").write_text('intents: {HassGo: {data: [{sentences: ["run <in_room>"]}]}}')
    (tmp_path / "more.csv").write_text("text,intent\nwhat,unknown\n")
    (tmp_path / "test.jsonl").write_text("not read")
    (tmp_path / "README.txt").write_text("not read")
    book = load([tmp_path])
    assert book.intents == ["HassGo", "unknown"]
    assert {phrase.text.split()[0] for phrase in drawn(book, intent="HassGo")} == {"go", "walk", "run"}
    assert book.fixed == [Phrase("what", "unknown")]


def test_declared_intents_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(
        "slots: {room: {kind: text, open: true}, level: {kind: number}}\n"
        "intents: {z: {slots: [room]}, a: {slots: []}, never: {}}\n"
    )
    (tmp_path / "more.csv").write_text("text,intent\nx,a\ny,z\nw,b\n")
    book = load([tmp_path])
    assert book.intents == ["z", "a", "b"]
    assert book.declared == {"z": ["room"], "a": [], "never": []}
    assert book.declared_kinds == {"room": "text", "level": "number"}
    assert book.open_slots == {"room"}


@pytest.mark.parametrize(
    "broken", ["go <nowhere>", "go {nothing}", "go {empty}", "go {odd}", "go [(a|<deep>)]"]
)
def test_a_template_that_cannot_be_expanded_is_left_out(tmp_path: Path, broken: str) -> None:
    common = (
        "lists: {empty: {values: []}, odd: {values: ['<nowhere>']}}\nexpansion_rules: {deep: '{nothing}'}\n"
    )
    book = book_of(tmp_path, "go home", broken, common=common)
    assert len(book.warnings) == 1
    assert broken in book.warnings[0] and "\n" not in book.warnings[0]
    assert {phrase.text for phrase in drawn(book)} == {"go home"}
    with pytest.raises(BitnetError, match="no phrases"):
        book_of(tmp_path, broken, common=common)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no phrases"),
        ("- a list", "has no phrases"),
        ("intents: [unclosed", "not readable as YAML"),
        ("intents: {a: {data: [{sentences: ['(open']}]}}", "hassil's syntax"),
        ("intents: {a: {data: [{sentences: ['a {b']}]}}", "hassil's syntax"),
        ("intents: {a: {data: [{sentences: 3}]}}", r"a\.yaml: intent a: `data`"),
        ("intents: {a: {data: [{}]}}", r"a\.yaml: intent a: `data`"),
        ("intents: {a: {data: [{sentences: [on]}]}}", r"a\.yaml: intent a: `data`"),
        ("intents: {a: {data: }}", r"a\.yaml"),
        ("intents: [a]", r"a\.yaml"),
        ("intents: {a: }", r"a\.yaml"),
        ("slots: {room: {open: true}}", r"a\.yaml"),
        ("slots: [room]", r"a\.yaml"),
        ("lists: [room]", r"a\.yaml"),
        ("entities: [{name: lamp}]", r"a\.yaml"),
        ("lists: {room: }\nintents: {a: {data: [{sentences: [b]}]}}", "hassil's syntax"),
        (
            "lists: {n: {range: {from: 5, to: 1}}}\nintents: {a: {data: [{sentences: [b]}]}}",
            "hassil's syntax",
        ),
        ("expansion_rules: {r: 'a <r>'}\nintents: {a: {data: [{sentences: ['<r>']}]}}", "refers to itself"),
        ("intents: {a: {data: []}}", "no phrases"),
        ("lists: {room: {values: [a]}}", "no phrases"),
    ],
)
def test_bad_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BitnetError, match=message) as refusal:
        load([tmp_path])
    assert "\n" not in str(refusal.value)


def test_bad_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\0")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("none", "no such file or folder"),
        ("a.txt", "end in .yaml, .jsonl or .csv"),
        ("binary.yaml", "not readable as YAML"),
        ("empty", "no phrases found"),
    ):
        with pytest.raises(BitnetError, match=message) as refusal:
            load([tmp_path / name])
        assert "\n" not in str(refusal.value)


# --- the project's own phrases ---


@pytest.fixture(scope="module")
def home() -> PhraseBook:
    return load([HOME])


def test_every_home_template_draws_what_is_declared(home: PhraseBook) -> None:
    assert home.warnings == []
    assert home.fixed == []
    assert home.intents == list(home.declared)
    assert len(home.intents) > 40
    assert sum(map(len, home.templates.values())) >= 500
    rng = random.Random(0)
    slots: Counter[tuple[str, str]] = Counter()
    for intent, templates in list(home.templates.items()):
        for template in templates:
            one = PhraseBook()
            one.__dict__.update(home.__dict__)
            one.templates = {intent: [template]}
            for _ in range(8):
                phrase = one.sample(rng, intent)
                assert phrase.text
                assert phrase.slots.keys() <= set(home.declared[intent]), phrase
                for slot, value in phrase.slots.items():
                    assert value == value.strip()
                    assert home.declared_kinds[slot] == "text" or is_number(value), phrase
                    slots[intent, slot] += 1
    declared = {(intent, slot) for intent, names in home.declared.items() for slot in names}
    assert set(slots) == declared


def test_home_test_phrases_stand_apart_from_the_templates(home: PhraseBook) -> None:
    def plain(text: str) -> str:
        return text.lower().rstrip("?.!")

    test_set = read_phrases(HOME / "test.jsonl")
    texts = {plain(phrase.text) for phrase in draw(home, 20_000, "unknown", random.Random(0))}
    both = [phrase.text for phrase in test_set if plain(phrase.text) in texts]
    print(f"{len(both)} of {len(test_set)} test phrases were drawn: {both}")
    # Nobody copied: short commands such as "lights off" are said alike by everyone.
    assert len(both) < 0.10 * len(test_set)
    assert len({plain(phrase.text) for phrase in test_set}) >= 400
    for phrase in test_set:
        assert phrase.slots.keys() <= set(home.declared[phrase.intent]), phrase
