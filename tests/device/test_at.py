"""The AT service on a real pty, by a plain serial client: one final result code, whatever a line holds."""

import random
import re
import time

import pytest
from bitnet_cli.emulation.simulator import SimulatedBoard
from support.at_line import Line

INFER = rb'\r\n\+INFER: "\w+",\d+,"[^"]*","model",\d+,\d+,0\r\n'


def test_says_ready(board: SimulatedBoard) -> None:
    assert board.boot_lines == ["ready"]
    assert board.fault is None


@pytest.mark.parametrize(
    ("command", "code", "information"),
    [
        (b"AT", "OK", rb""),
        (b"at", "OK", rb""),
        (b"  AT  ", "OK", rb""),
        (b"ATE0", "OK", rb""),
        (b"ATE", "OK", rb""),
        (b"ATI", "OK", rb"\r\nbitnet \d.*\r\n\r\nmicropython .*\r\n"),
        (b"AT+GMR", "OK", rb"\r\n\d+\.\d+\.\d+\r\n"),
        (b"at+gmr", "OK", rb"\r\n\d+\.\d+\.\d+\r\n"),
        (b"AT+CMEE?", "OK", rb"\r\n\+CMEE: 0\r\n"),
        (b"AT+CMEE=?", "OK", rb"\r\n\+CMEE: \(0-2\)\r\n"),
        (b"AT+CMEE= 0 ", "OK", rb""),
        (b"AT+CLAC", "OK", rb"\r\nAT\r\n.*\r\nAT\+INFER\r\n.*"),
        (b"AT+MODEL?", "OK", rb'\r\n\+MODEL: "random.bitnet",\d+,"[0-9A-F]{8}","ternary"(,\d+){5}\r\n'),
        (b"AT+INFER=?", "OK", rb'\r\n\+INFER: "text",\[\(0-60000\)\]\r\n'),
        (b"AT+GEN=?", "OK", rb'\r\n\+GEN: "text",\[\(1-256\)\]\r\n'),
        (b"AT+STAT?", "OK", rb'\r\n\+STAT: (\d+,){5}"","power"\r\n'),
        (b"AT+STAT=?", "OK", rb""),
        (b"AT+RESET", "OK", rb""),
        (b'AT+INFER="what\\22 is\\5C\\\\ it\\" \\,"', "OK", INFER),
        (b'AT+INFER=""', "OK", rb'\r\n\+INFER: "\w+",\d+,"","model",\d+,\d+,0\r\n'),
        (b'AT+INFER="\\00\\0d\\0a"', "OK", rb'\r\n\+INFER: .*'),
        (b'AT+GEN="hi",2', "OK", rb'(\r\n\+GEN: ".*"\r\n){0,2}'),
        (b'AT+GEN="hi",', "OK", rb'(\r\n\+GEN: ".*"\r\n){0,32}'),
    ],
)  # fmt: skip
def test_commands(line: Line, command: bytes, code: str, information: bytes) -> None:
    got, data = line.ask(command)
    assert got == code
    assert re.fullmatch(information + rb"\r\nOK\r\n", data, re.DOTALL), data


@pytest.mark.parametrize(
    "command",
    [
        b"A",
        b" ",
        b"hello",
        b"\x00",
        b"AT\x00",
        b"\x00AT",
        b"AT+",
        b"AT+NOPE",
        b"AT+NOPE=?",
        b"AT5",
        b"AT=",
        b"AT?",
        b"AT&",
        b"ATE2",
        b"ATE0,1",
        b'ATE"0"',
        b"ATQ",
        b"AT+CMEE",
        b"AT+CMEE=",
        b"AT+CMEE=3",
        b"AT+CMEE=-1",
        b"AT+CMEE=1,2",
        b"AT+CMEE=1_0",
        b"AT+CMEE=0x1",
        b"AT+CMEE=99999999999999999999",
        b'AT+CMEE="1"',
        b"AT+GMR?",
        b"AT+GMR=1",
        b"AT+INFER",
        b"AT+INFER?",
        b"AT+INFER=",
        b"AT+INFER=text",
        b"AT+INFER=1",
        b'AT+INFER="unterminated',
        b'AT+INFER="',
        b'AT+INFER="ends in a backslash\\"',
        b'AT+INFER="half an escape \\2"',
        b'AT+INFER="half an escape \\2',
        b'AT+INFER="no escape \\n"',
        b'AT+INFER="a"b',
        b'AT+INFER="a","b"',
        b'AT+INFER="not UTF-8 \xff"',
        b'AT+INFER="not UTF-8 \\FF"',
        b'AT+INFER="half a character \xc3"',
        b'AT+GEN="a",0',
        b'AT+GEN="a",257',
        b'AT+GEN="a",1,1',
        b"AT+STAT",
        b"AT" + 300 * b" ",
        b"AT+INFER=" + 10_240 * b'"',
        10_240 * b"x",
        bytes(range(14, 256)),
        bytes(range(10)),
    ],
)
def test_bad_lines(line: Line, command: bytes) -> None:
    code, data = line.ask(command)
    assert code == "ERROR", data
    assert data == b"\r\nERROR\r\n"
    assert line.ask(b"AT")[0] == "OK"


def test_line_limit(line: Line) -> None:
    """256 bytes are a line, 257 are not, and the next line is whole again."""
    fits = b'AT+INFER="' + 245 * b"a" + b'"'
    assert len(fits) == 256
    assert line.ask(fits)[0] == "OK"
    assert line.ask(fits[:-1] + b'a"')[0] == "ERROR"
    assert line.ask(b"AT" + 254 * b" ")[0] == "OK"
    assert line.ask(b"AT" + 255 * b" ")[0] == "ERROR"


def test_error_codes(line: Line) -> None:
    assert line.ask(b"AT+CMEE=1")[0] == "OK"
    assert line.ask(b"AT+STAT")[0] == "+CME ERROR: 4"
    assert line.ask(b"AT+NOPE")[0] == "ERROR"
    assert line.ask(b"AT+CMEE=2")[0] == "OK"
    assert line.ask(b"AT+STAT")[0] == "+CME ERROR: operation not supported"


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\r\n", b"\r\n\r\n", b"\n\r\n\r\r"])
def test_line_ends(line: Line, end: bytes) -> None:
    """CR, LF or both end a line; more of them say nothing."""
    line.send(end + b"AT" + end + b"AT" + end)
    codes, data = line.results(2)
    assert codes == ["OK", "OK"], data


def test_back_to_back(line: Line) -> None:
    line.send(b'AT\rAT+CMEE=1\rAT+STAT\rAT+CMEE=0\rAT+INFER="x\rAT+GEN="a",2\rAT\r')
    codes, data = line.results(7)
    assert codes == ["OK", "OK", "+CME ERROR: 4", "OK", "ERROR", "OK", "OK"], data


def test_slow_typing(line: Line) -> None:
    for byte in b"AT+CMEE?\r":
        line.send(bytes([byte]))
        time.sleep(0.005)
    assert line.results(1)[0] == ["OK"]


def test_echo(line: Line) -> None:
    assert line.ask(b"ATE1")[1] == b"\r\nOK\r\n"
    assert line.ask(b"AT")[1] == b"AT\r\r\nOK\r\n"
    assert line.ask(b"junk")[1] == b"junk\r\r\nERROR\r\n"
    assert line.ask(b"ATE0")[1] == b"ATE0\r\r\nOK\r\n"
    assert line.ask(b"AT")[1] == b"\r\nOK\r\n"


def test_flood(line: Line) -> None:
    """500 lines without waiting for any answer."""
    commands = [b"AT", b"AT+CMEE?", b'AT+INFER="is it warm"', b"junk", b'AT+INFER="open', b"\x01\x02"]
    expected = ["OK", "OK", "OK", "ERROR", "ERROR", "ERROR"]
    line.send(b"".join(commands[i % 6] + b"\r" for i in range(500)))
    codes, _ = line.results(500)
    assert codes == [expected[i % 6] for i in range(500)]


def test_noise(line: Line) -> None:
    """Random bytes and mutilated commands: as many codes as there are lines that are not empty."""
    rng = random.Random(1)
    seeds = [b'AT+INFER="is it warm in the kitchen"', b'AT+GEN="abc",3', b"AT+CMEE=0", b"ATE0", b"AT+MODEL?"]
    for _ in range(40):
        lines = []
        for _ in range(10):
            if rng.random() < 0.3:
                data = rng.randbytes(rng.randrange(1, 400))
            else:
                seed = bytearray(rng.choice(seeds))
                for _ in range(rng.randrange(3)):
                    seed[rng.randrange(len(seed))] = rng.randrange(256)
                data = bytes(seed)
            data = re.sub(rb"[\r\n]", b"?", data)
            if data.upper().lstrip().startswith((b"ATE", b"AT+CMEE=")):
                data = b"AT"  # the modes must stay known
            lines.append(data)
        line.send(b"\r".join(lines) + b"\r")
        codes, data = line.results(len(lines))
        assert len(codes) == len(lines), (lines, data)
    assert line.ask(b"AT+CMEE?")[0] == "OK"


def test_survives_reconnection(board: SimulatedBoard) -> None:
    """A client leaves in the middle of a line; the next one is answered after its first line end."""
    with Line(board.port) as first:
        first.send(b'AT+INFER="half a l')
    with Line(board.port) as second:
        second.send(b"\r")
        second.results(1)
        assert second.ask(b"AT")[0] == "OK"


def test_heap_stays(line: Line) -> None:
    """Free heap after 500 inferences is what it was after the first few."""

    def free() -> int:
        match = re.search(rb"STAT: (\d+)", line.ask(b"AT+STAT?")[1])
        assert match
        return int(match[1])

    phrase = b'AT+INFER="Set the kitchen to 21.5 degrees in zone 2"\r'
    line.send(phrase * 10)
    line.results(10)
    before = free()
    for _ in range(10):
        line.send(phrase * 50)
        assert line.results(50)[0] == ["OK"] * 50
    assert free() >= before - 512  # a few blocks of slack: strings of other lengths
