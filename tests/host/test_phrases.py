"""Phrases as they are: .jsonl and .csv files, and what is refused in them."""

import json
from pathlib import Path

import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.phrases.phrases import Phrase, is_number, read_phrases


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_jsonl(tmp_path: Path) -> None:
    rows = [
        {"text": "Set the Kitchen to 21", "intent": "set", "slots": {"room": "kitchen", "value": 21}},
        {"text": "line\u2028break", "intent": "read", "id": 7},
    ]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    found = read_phrases(written(tmp_path, "some.jsonl", lines.replace("\n", "\r\n")))
    assert found == [
        Phrase("Set the Kitchen to 21", "set", {"room": (8, 15), "value": (19, 21)}),
        Phrase("line\u2028break", "read"),
    ]
    assert found[0].slots == {"room": "Kitchen", "value": "21"}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_csv(tmp_path: Path, mark: str) -> None:
    text = f'{mark}text,id,intent,slots\n"on, now",1,on,\ndim to 40 %,2,dim,"{{""value"": ""40""}}"\n'
    found = read_phrases(written(tmp_path, "some.csv", text))
    assert found == [Phrase("on, now", "on"), Phrase("dim to 40 %", "dim", {"value": (7, 9)})]
    assert read_phrases(written(tmp_path, "two.csv", "text,intent\nhello,greet\n")) == [
        Phrase("hello", "greet")
    ]


def test_a_value_is_found_as_a_whole_word_first(tmp_path: Path) -> None:
    row = {"text": "show the hall, not the hallway or hal", "intent": "show"}
    for value, start in (("hal", 34), ("hall", 9), ("allway", 24)):
        path = written(tmp_path, "some.jsonl", json.dumps({**row, "slots": {"room": value}}))
        assert read_phrases(path)[0].spans == {"room": (start, start + len(value))}


def test_features_may_stand_for_the_text(tmp_path: Path) -> None:
    row = {"text": "", "intent": "dark", "features": {"light": 0}}
    (phrase,) = read_phrases(written(tmp_path, "some.jsonl", json.dumps(row)))
    assert (phrase.text, phrase.features) == ("", {"light": 0})


GOOD = '{"text": "a b", "intent": "x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "has no phrases"),
        ("a.jsonl", "\n \n", "has no phrases"),
        ("a.jsonl", GOOD + '{"text": ', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", GOOD + "[" * 100_000, r":2: not JSON"),
        ("a.jsonl", GOOD + '{"text": ' + "9" * 5000, r":2: not JSON"),
        ("a.jsonl", r'{"text": "a \ud800", "intent": "x"}', r":1: '\\ud800' is half a character"),
        ("a.jsonl", r'{"text": "a", "intent": "x\udc00"}', r":1: '\\udc00' is half a character"),
        ("a.jsonl", r'{"text": "a", "intent": "x", "slots": {"\ud800": "a"}}', ":1: .* half a character"),
        ("a.csv", 'text,intent,slots\na,b,"{""\\ud800"": ""a""}"\n', ":2: .* half a character"),
        ("a.jsonl", GOOD + "[1]", r":2: each line is an object"),
        ("a.jsonl", '{"text": "a"}', ":1: `text` and `intent`"),
        ("a.jsonl", '{"text": " ", "intent": "x"}', ":1: `text` and `intent`"),
        ("a.jsonl", '{"text": 3, "intent": "x"}', ":1: `text` and `intent`"),
        ("a.jsonl", '{"text": "a", "intent": ""}', ":1: `text` and `intent`"),
        ("a.jsonl", '{"text": "a", "intent": "x", "slots": [1]}', ":1: `slots` must be an object"),
        ("a.jsonl", '{"text": "a b", "intent": "x", "slots": {"room": "c"}}', "room: 'c' does not stand"),
        ("a.jsonl", '{"text": "a b", "intent": "x", "slots": {"room": ""}}', "room: '' does not stand"),
        ("a.jsonl", '{"text": "", "intent": "x", "features": {}}', ":1: `text` and `intent`"),
        (
            "a.jsonl",
            '{"text": "a", "intent": "x", "features": ["light"]}',
            ":1: `features` must be an object",
        ),
        ("a.jsonl", '{"text": "a", "intent": "x", "features": {"light": "3"}}', "number of the bin"),
        ("a.jsonl", b"\xff\xfe", "UTF-8"),
        ("a.csv", "", "must name the columns"),
        ("a.csv", "text,label\na,b\n", "must name the columns"),
        ("a.csv", "text,intent\n", "has no phrases"),
        ("a.csv", "text,intent\nonly\n", ":2: `text` and `intent`"),
        ("a.csv", 'text,intent,slots\na,b,"{"\n', ":2: `slots` is not JSON"),
        ("a.csv", "text,intent\n" + "x" * 200_000 + ",b\n", ":[12]: not CSV"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(BitnetError, match=message) as refusal:
        read_phrases(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitnetError, match=r"none\.jsonl: cannot be read"):
        read_phrases(tmp_path / "none.jsonl")
    with pytest.raises(BitnetError, match="cannot be read"):
        read_phrases(tmp_path)


def test_numbers() -> None:
    assert all(map(is_number, ("0", "21", "21.5", "-5", "6:30", "1,000")))
    assert not any(map(is_number, ("", "-", "one", "21 degrees", "1.", "x1")))
