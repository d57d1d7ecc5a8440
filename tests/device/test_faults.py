"""Bad models and phrases: a clear line, and a board that still answers."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.boards.at import AtClient, AtError
from bitnet_cli.emulation.simulator import SimulatedBoard, infer_many
from bitnet_cli.errors import BitnetError
from support import toy

# Without a prefix: with one, a session does not need the metadata.
MODEL = toy.model(1, prefix=False)


def patched(offset: int, data: bytes, model: bytes | None = None, checksum: bool = True) -> bytes:
    """The model with these bytes at an offset, and (or not) the checksum for it."""
    out = bytearray(model or MODEL)
    out[offset : offset + len(data)] = data
    if checksum:
        out[12:16] = struct.pack("<I", zlib.crc32(out[16 : struct.unpack_from("<I", out, 8)[0]]))
    return bytes(out)


def flipped() -> bytes:
    model = MODEL
    at = len(model) // 2
    return patched(at, bytes([model[at] ^ 4]), checksum=False)


def section(number: int) -> int:
    """Where part 0 (weights), 1 (tokenizer), 2 (labels), 3 (metadata) or 4 (prefix) begins."""
    end = 64
    for i, size in enumerate(struct.unpack_from("<5I", MODEL, 32)):
        start = end + 15 & ~15
        if i == number:
            return start
        end = start + size
    raise IndexError(number)


def without(part: int) -> bytes:
    """The model without its tokenizer (1), labels (2) or metadata (3)."""
    model = MODEL
    sizes = list(struct.unpack_from("<4I", model, 32))
    start = section(part)
    end = section(part + 1)
    size = len(model) - (end - start)
    sizes[part] = 0
    body = bytearray(model[:start] + model[end:])
    body[8:12] = struct.pack("<I", size)
    return patched(32, struct.pack("<4I", *sizes), bytes(body))


BAD = {
    "empty": (lambda: b"", "bytes are missing"),
    "header alone": (lambda: MODEL[:64], "bytes are missing"),
    "half a header": (lambda: MODEL[:30], "bytes are missing"),
    "truncated": (lambda: MODEL[:-1], "bytes are missing"),
    "flipped bit": (flipped, "checksum"),
    "magic": (lambda: patched(0, b"GGUF"), "not a .bitnet file"),
    "version": (lambda: patched(4, b"\x01\0"), "version"),
    "claims 4 GiB": (lambda: patched(8, b"\xff\xff\xff\xff", checksum=False), "bytes are missing"),
    "weights of 4 GiB": (lambda: patched(32, b"\xf0\xff\xff\xff"), "do not fit"),
    "prefix of 4 GiB": (lambda: patched(48, b"\xf0\xff\xff\xff"), "do not fit"),
    "labels of 4 GiB": (lambda: patched(40, b"\xf0\xff\xff\xff"), "do not fit"),
    "no layers": (lambda: patched(22, b"\0"), "header field"),
    "window": (lambda: patched(26, b"\xff\xff"), "header field"),
    "no tokenizer": (lambda: without(1), "no tokenizer"),
    "tokenizer's size": (lambda: patched(section(1) + 2, b"\x0f"), "tokenizer|do not fit"),
    "another tokenizer": (lambda: patched(section(1) + 4, b"\x04\x01"), "tokenizer|do not fit"),
    "intent tokens": (lambda: patched(section(2) + 4, b"\xff\xff"), "labels|do not fit"),
    "special tokens": (lambda: patched(section(2) + 8, b"\xff\xff"), "labels|do not fit"),
    "intent count": (lambda: patched(section(2), b"\xff\x03"), "labels|do not fit"),
    "metadata": (lambda: patched(section(3), b"}"), "metadata"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_model(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    path = tmp_path / "bad.bitnet"
    path.write_bytes(make())
    with SimulatedBoard(path) as board:
        assert board.fault is not None
        assert board.boot_lines[-1] == "ready"
        with AtClient(board.port) as client:
            assert client.command("AT").ok
            assert client.command("AT+GMR").ok
            for command in ("AT+MODEL?", 'AT+INFER="a"', 'AT+GEN="a"', "AT+RESET"):
                assert client.command(command).final == "ERROR"
            assert client.command("AT+CMEE=1").ok
            assert client.command('AT+INFER="a"').final == "+CME ERROR: 501"
            assert client.command("AT+CMEE=2").ok
            final = client.command('AT+INFER="a"').final
            assert final == f"+CME ERROR: {board.fault}"
            assert client.command("AT+STAT?").ok
    with pytest.raises(BitnetError, match=reason):
        infer_many(path, ["a"])


FEATURE = {"name": "a", "channel": "a", "kind": "mean", "window": 60, "edges": [1], "token": 3}


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ([FEATURE | {"kind": "kurtosis"}], "kurtosis"),
        ([FEATURE | {"window": "60"}], ""),
        ([FEATURE | {"window": 0}], "window"),
        ([FEATURE | {"edges": 1}], "edges"),
        ([{"kind": "age"}], ""),
        (["a"], ""),
        ({"a": FEATURE}, ""),
        (7, ""),
    ],
)
def test_features_of_another_firmware(tmp_path: Path, features: object, reason: str) -> None:
    """The unit starts, says what is wrong, and goes on without the model."""
    path = tmp_path / "new.bitnet"
    path.write_bytes(toy.model(1, features=features))
    with SimulatedBoard(path) as board, AtClient(board.port) as client:
        assert board.fault and f"cannot use its features ({reason}" in board.fault
        assert client.command("AT+CMEE=1").ok
        for command in ("AT+MODEL?", 'AT+INFER="a"', "AT+RESET", 'AT+MODEL="/rom/new.bitnet"'):
            assert client.command(command).final == "+CME ERROR: 501"
        assert client.command("AT+STAT?").ok


def test_no_model() -> None:
    with SimulatedBoard(None) as board:
        assert board.fault == "no .bitnet file in /rom, /models, /"
        with AtClient(board.port) as client:
            assert client.command("AT").ok


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(BitnetError, match="cannot read the model"):
        SimulatedBoard(tmp_path / "none.bitnet")


def test_model_without_labels(tmp_path: Path) -> None:
    """It generates, and says that it has no intents."""
    path = tmp_path / "plain.bitnet"
    path.write_bytes(without(2))
    with SimulatedBoard(path) as board, AtClient(board.port) as client:
        assert board.fault is None
        assert len(client.command('AT+GEN="hello",5').lines) == 5
        assert client.command("AT+CMEE=1").ok
        assert client.command('AT+INFER="a"').final == "+CME ERROR: 502"
        assert client.command('AT+GEN="",5').final in ("OK", "+CME ERROR: 100")
        assert client.command("AT").ok


def test_model_too_large_for_ram(on_device: Callable[..., Any], large_model: Path) -> None:
    """Outside ROMFS a model needs RAM; the fault says so."""
    (message,) = on_device("load.py", large_model, heap="128k")
    assert "do not fit into RAM; put the model into ROMFS" in message


def test_phrase_too_long(random_model: Path) -> None:
    assert len(infer_many(random_model, ["x" * 255, "é" * 127])) == 2
    with pytest.raises(BitnetError, match="256 bytes"):
        infer_many(random_model, ["x" * 256])
    with pytest.raises(BitnetError, match="empty"):
        infer_many(random_model, ["a", ""])
    with pytest.raises(BitnetError, match="not valid Unicode"):
        infer_many(random_model, ["\ud800"])
    with SimulatedBoard(random_model) as board, AtClient(board.port) as client:
        with pytest.raises(AtError, match="shorten"):
            client.infer("x" * 246)
        assert client.infer("x" * 245).prompt_tokens > 0


def test_phrases_survive(random_model: Path) -> None:
    """Over AT a phrase gets the same answer as without."""
    phrases = [
        'say "21" \\ \\22',
        "a;b=c,d",
        "grün 北京 ☀️ 5",
        "two\nlines\r\n",
        "tab\t\x7f\x01",
        "room '\"=;21",
    ]
    expected = infer_many(random_model, phrases)
    with SimulatedBoard(random_model) as board, AtClient(board.port) as client:
        for phrase, answer in zip(phrases, expected, strict=True):
            got = client.infer(phrase)
            assert (got.intent, got.confidence, got.slots, got.prompt_tokens) == (
                answer.intent,
                answer.confidence,
                answer.slots,
                answer.prompt_tokens,
            )


def test_a_deadline(on_device: Callable[..., Any], large_model: Path) -> None:
    """A millisecond is too little; nothing is left of it, and the next request is answered as ever."""
    before, late, after = on_device("deadline.py", large_model)
    assert late == "the deadline has passed"
    assert before == after
