"""The collector's database, the phrases it makes, and the command as a user runs it."""

import json
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.cli import main
from bitnet_cli.cloud.collect import Store, export_phrases, is_topic
from bitnet_cli.errors import BitnetError
from bitnet_cli.model import modelfile
from bitnet_cli.model.tokenizer import encode, from_section
from bitnet_cli.paths import STOCK_MODEL
from bitnet_cli.phrases.phrases import Phrase, read_phrases
from support.mosquitto import free_port


def message(first: int, *records: dict[str, Any], unit: str = "u", epoch: int = 1, drops: int = 0) -> bytes:
    head = {"unit": unit, "epoch": epoch, "drops": drops, "first": first, "records": records}
    return json.dumps(head).encode()


def fault(number: int = 0) -> dict[str, Any]:
    return {"kind": "fault", "reason": "inference", "number": number}


def said(text: str, intent: str = "unknown", confidence: int = 300, **more: Any) -> dict[str, Any]:
    return {"kind": "phrase", "text": text, "intent": intent, "confidence": confidence, **more}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "new" / "units.sqlite"


def test_records_are_stored_once(database: Path) -> None:
    with Store(database) as store:
        counts = store.add("t", message(0, fault(0), fault(1)))
        assert (counts.records, counts.duplicates) == (2, 0)
        counts = store.add("t", message(1, fault(1), fault(2)))
        assert (counts.records, counts.duplicates) == (1, 1)
        assert [(number, row["number"]) for _, number, row in store.records()] == [(0, 0), (1, 1), (2, 2)]
    with Store(database) as store:  # and stay
        assert len(list(store.records())) == 3


def test_records_are_on_disk_before_they_are_acknowledged(database: Path) -> None:
    with Store(database) as store:
        store.add("t", message(0, fault()))
        other = sqlite3.connect(database)
        assert other.execute("SELECT count(*) FROM records").fetchone() == (1,)
        other.close()


def test_gaps_and_drops_per_unit(database: Path) -> None:
    with Store(database) as store:
        store.add("t", message(0, fault(), fault(), unit="a"))
        store.add("t", message(5, fault(), unit="a", drops=3))
        store.add("t", message(0, fault(), unit="b"))
        store.add("t", message(0, fault(), unit="b", epoch=2))  # its file system was made anew
        units = [(unit.unit, unit.epoch, unit.records, unit.missing, unit.drops) for unit in store.units()]
    assert units == [("a", 1, 3, 3, 3), ("b", 1, 1, 0, 0), ("b", 2, 1, 0, 0)]


def test_compressed_messages(database: Path) -> None:
    with Store(database) as store:
        assert store.add("t", zlib.compress(message(0, fault()))).records == 1
        assert store.add("t", zlib.compress(b" " * (1 << 21))).rejected == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"\x08\x1d",
        zlib.compress(message(0, fault()))[:-3],
        b"[" * 100_000,
        message(0, fault()).replace(b'"first": 0', b'"first": -1'),
        message(0, fault()).replace(b'"first": 0', b'"first": "0"'),
        message(0, fault()).replace(b'"epoch": 1', b'"epoch": 4294967296'),
        message(0, fault()).replace(b'"u"', b"5"),
        message(0, fault(), unit="\ud800"),
        message(0, {"kind": "\udfff"}),
        message(0, said("on \ud800")),
        message(0, said("on", slots={"\ud800": ["\ud800"]})),
        message(0, {"reason": "boot"}),
        message(0, fault()).replace(b'"fault"', b"null"),
    ],
)
def test_messages_that_no_unit_sends(database: Path, payload: bytes) -> None:
    """They are kept apart, with the reason, and stop nothing."""
    with Store(database) as store:
        assert store.add("t", payload).rejected == 1
        assert store.add("t", message(0, fault())).records == 1
        found = sqlite3.connect(database).execute("SELECT topic, payload, reason FROM rejected").fetchall()
    assert found[0][:2] == ("t", payload) and found[0][2]


def test_phrases_to_label(database: Path) -> None:
    with Store(database) as store:
        sure = said("Light on", "light_on", 950, slots={"room": "on"})
        store.add("t", message(0, said("open the pod"), sure))
        store.add("t", message(2, said("stir the soup"), said("stir the soup"), said("hm", "light_on", 400)))
        store.add("t", message(5, fault(), {"kind": "lost"}))
        export = export_phrases(store)
    assert (export.unlabelled, export.without_text) == (3, 0)
    assert export.rows == [
        {"text": "stir the soup", "intent": "?", "guess": "unknown", "confidence": 300, "count": 2},
        {"text": "open the pod", "intent": "?", "guess": "unknown", "confidence": 300, "count": 1},
        {"text": "hm", "intent": "?", "guess": "light_on", "confidence": 400, "count": 1},
        {
            "text": "Light on",
            "intent": "light_on",
            "guess": "light_on",
            "confidence": 950,
            "count": 1,
            "slots": {"room": "on"},
        },
    ]


def test_tokens_become_text(database: Path) -> None:
    """With the model they came from, and with no other."""
    model = modelfile.read(STOCK_MODEL.read_bytes())
    tokens = encode(from_section(model.tokenizer), "Set the kitchen to 21 degrees").ids
    crc32 = model.crc32
    record = {"kind": "phrase", "tokens": tokens, "intent": "unknown", "confidence": 1}
    with Store(database) as store:
        store.add("t", message(0, {**record, "model": crc32}, {**record, "model": crc32 ^ 1}))
        store.add("t", message(2, {**record, "model": crc32, "tokens": [65535, "x", None]}))
        export = export_phrases(store, STOCK_MODEL)
        assert [row["text"] for row in export.rows] == ["set the kitchen to 21 degrees"]
        assert export.without_text == 2
        assert export_phrases(store).without_text == 3


@pytest.mark.parametrize("confidence", ["high", None, True, [1]])
def test_phrases_of_a_strange_unit(database: Path, confidence: Any) -> None:
    with Store(database) as store:
        store.add("t", message(0, {"kind": "phrase", "text": "a", "confidence": confidence, "slots": 5}))
        assert export_phrases(store).unlabelled == 1


@pytest.mark.parametrize("text", ["a", "#", "+", "a/+/b", "+/a/#", "/", "a b/ü"])
def test_topics(text: str) -> None:
    assert is_topic(text)


@pytest.mark.parametrize("text", ["", "a#", "a/#/b", "a+/b", "++", "a/##", "a\0", "a\udc80", "a" * 65536])
def test_what_is_no_topic(text: str) -> None:
    assert not is_topic(text)


# --- the command ---


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["collect", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_way_back_to_training(capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path) -> None:
    """What was collected is refused until all of it is labelled, with the lines that are not."""
    output = tmp_path / "phrases.jsonl"
    with Store(database) as store:
        store.add("t", message(0, said("stir the soup"), said("light on", "light_on", 950)))
    status, out, err = run(capsys, "--database", database, "--output", output)
    assert (status, err) == (0, "")
    assert out.splitlines()[1].split() == ["u", "2", "0", "0"]
    assert "2 phrases" in out and "1 of them to be labelled" in out
    with pytest.raises(BitnetError, match=r"still '\?' in line 1: write it"):
        read_phrases(output)
    output.write_text(output.read_text().replace('"?"', '"stir"'))
    assert read_phrases(output) == [Phrase("stir the soup", "stir"), Phrase("light on", "light_on")]

    status, out, _ = run(capsys, "--database", database, "--output", output, "--json")
    summary = json.loads(out)
    assert status == 0
    assert (summary["phrases"], summary["unlabelled"], summary["without_text"]) == (2, 0, 0)
    assert summary["units"][0]["records"] == 2
    assert read_phrases(output) == [Phrase("stir the soup", "stir"), Phrase("light on", "light_on")]


def test_labels_stay_when_more_is_collected(database: Path) -> None:
    labelled = {
        "text": "Stir the soup",
        "intent": "stir",
        "slots": {"what": "soup"},
        "note": "mine",
        "count": 1,
    }
    corrected = {"text": "light on", "intent": "unknown", "count": 1}
    by_hand = [{"text": "stir it", "intent": "stir"}, {"text": "stir it", "intent": "unknown"}]
    waiting = {"text": "hm", "intent": "?", "count": 1}
    with Store(database) as store:
        store.add("t", message(0, said("stir the soup"), said("stir the soup"), said("hm"), said("hm")))
        store.add("t", message(4, said("light on", "light_on", 950), said("new")))
        export = export_phrases(store, before=[labelled, corrected, *by_hand, waiting])
    assert [(row["text"], row["intent"], row["count"]) for row in export.rows] == [
        ("hm", "?", 2),
        ("new", "?", 1),
        ("Stir the soup", "stir", 2),
        ("light on", "unknown", 1),
        ("stir it", "stir", 0),
        ("stir it", "unknown", 0),
    ]
    assert export.rows[2] == {**labelled, "count": 2}
    assert "slots" not in export.rows[3]


@pytest.mark.parametrize(
    ("content", "words"),
    [('{"text": "a"', "phrases.jsonl:1: not JSON"), ('{"text": "a", "label": "b"}', "`text` and `intent`")],
)
def test_a_file_that_is_no_list_of_phrases_stays(
    capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path, content: str, words: str
) -> None:
    output = tmp_path / "phrases.jsonl"
    output.write_text(content)
    Store(database).close()
    status, out, err = run(capsys, "--database", database, "--output", output)
    assert (status, out) == (2, "") and words in err and err.count("\n") == 1
    assert output.read_text() == content


def test_a_database_that_is_not_there(
    capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path
) -> None:
    output = tmp_path / "phrases.jsonl"
    output.write_text('{"text": "a", "intent": "?"}\n')
    status, _, err = run(capsys, "--database", database, "--output", output)
    assert status == 2 and f"{database}: no such database" in err
    assert not database.exists() and output.read_text()


def test_the_unlabelled_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    rows = [{"text": f"a {i}", "intent": "?" if i else "x"} for i in range(14)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BitnetError, match="line 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"):
        read_phrases(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--broker", "mqtt://127.0.0.1:{port}"), "no broker at 127.0.0.1:{port}"),
        (("--broker", "ftp://x"), "a broker is mqtt://"),
        (("--broker", "mqtt://x", "--ca", "{tmp}/ca"), "needs TLS"),
        (("--broker", "mqtts://x", "--ca", "{tmp}/ca"), "not a certificate"),
        (("--broker", "mqtt://x", "--client-id", ""), "the client id '' is none"),
        (("--broker", "mqtt://x", "--topic", ""), "the topic '' is none"),
        (("--broker", "mqtt://x", "--topic", "a#/b"), "the topic 'a#/b' is none"),
        (("--output", "{tmp}/file/phrases.jsonl"), "is not a folder"),
        (("--output", "{tmp}/phrases.jsonl", "--model", "{tmp}/file"), "model"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "file").write_text("no model")
    Store(database).close()
    places = {"tmp": tmp_path, "port": free_port()}
    status, out, err = run(capsys, "--database", database, *(text.format(**places) for text in arguments))
    assert (status, out) == (2, "")
    assert words.format(**places) in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("bitnet-cli collect: ")


def test_a_database_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a database, but long enough to be taken for one" * 100)
    status, _, err = run(capsys, "--database", path)
    assert status == 2 and "cannot be used as the database" in err


@pytest.mark.parametrize("table", ["records", "drops", "rejected"])
def test_a_database_of_somebody_else(capsys: pytest.CaptureFixture[str], tmp_path: Path, table: str) -> None:
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute(f"CREATE TABLE {table} (title TEXT)")
    other.close()
    before = path.read_bytes()
    status, out, err = run(capsys, "--database", path)
    assert (status, out) == (2, "") and "cannot be used as the database: no such column" in err
    assert path.read_bytes() == before
