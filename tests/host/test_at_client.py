"""The AT client: what goes through quote() comes out of the board's parser as it was."""

import contextlib
import json
import random
import socket
import subprocess
import threading
from pathlib import Path
from typing import IO

import pytest
import serial
from bitnet_cli.boards import at
from bitnet_cli.emulation.simulator import SimulatedBoard, micropython
from bitnet_cli.paths import DEVICE
from support.patience import PATIENCE

# Reads {"lines": [...]} and prints the argument of each line, as the device's parser sees it.
PARSE = """
import json, sys
from bitnet.at.parser import parse, escape
lines = json.loads(sys.stdin.readline())
for line in lines:
    name, form, (text,) = parse(line.encode())
    print(json.dumps([str(text, "utf-8"), str(escape(text, b"=;"), "utf-8")]))
"""


def texts() -> list[str]:
    rng = random.Random(2)
    alphabet = "ab Z09\"\\,;=+\r\n\0\x7f\x1bäß€中😀'?."
    fixed = ["", "\\", '"', "\\22", "\\\\", '\\"', "a\\,b", "\n", "\r\n", "\0", "ä\\", "ready", "OK\r\nOK"]
    return fixed + ["".join(rng.choices(alphabet, k=rng.randrange(40))) for _ in range(500)]


def test_escapes_survive(tmp_path: Path) -> None:
    lines = [f"AT+INFER={at.quote(text)}" for text in texts()]
    script = tmp_path / "parse.py"
    script.write_text(PARSE)
    done = subprocess.run(
        [micropython(), str(script)],
        env={"MICROPYPATH": f"{DEVICE}:.frozen"},
        input=json.dumps(lines, ensure_ascii=False).encode() + b"\n",
        capture_output=True,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [parsed for parsed, _ in results] == texts()
    assert [at.unescape(escaped) for _, escaped in results] == texts()
    assert not any(set(escaped) & set('";=\r\n\0') for _, escaped in results)


def test_parse_infer() -> None:
    line = '+INFER: "set_timer",981,"value=21\\3B\\22;room=living \\3D room","cache",12,34,56'
    assert at.parse_infer(("+URC", line)) == at.Answer(
        "set_timer", 981, {"value": '21;"', "room": "living = room"}, "cache", 12, 34, 56
    )


@pytest.mark.parametrize("line", ["+INFER: ", '+INFER: "a",1,"b"', '+INFER: "a","b","c",1,2', "+GEN: 1", ""])
def test_parse_infer_refuses(line: str) -> None:
    with pytest.raises(at.AtError):
        at.parse_infer((line,))


@pytest.mark.parametrize("port", ["/dev/no-such-port", "socket://127.0.0.1:1", "no-such-scheme://a"])
def test_no_port(port: str) -> None:
    with pytest.raises(at.AtError, match="cannot open the port"):
        at.AtClient(port)


def test_a_socket_is_a_port() -> None:
    def serve() -> None:
        line, _ = server.accept()
        with line:
            assert line.recv(100) == b"AT\r"
            line.sendall(b"\r\nOK\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        with at.AtClient(f"socket://127.0.0.1:{server.getsockname()[1]}") as client:
            assert client.command("AT").ok


def test_late_answers_of_a_starting_board_are_not_those_to_the_next_command() -> None:
    late = 3

    def serve() -> None:
        line, _ = server.accept()
        with line, line.makefile("rb") as received:
            read_lines(received, late)
            line.sendall(b"OK\r\n")
            (question,) = read_lines(received, 1)
            line.sendall(b"OK\r\n" * (late - 1))
            assert question == b"AT+CMEE?\r"
            line.sendall(b"+CMEE: 0\r\nOK\r\n")
            assert read_lines(received, 1) == [b"AT+MODEL?\r"]
            line.sendall(b'+MODEL: "flash"\r\nOK\r\n')

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        with at.AtClient(f"socket://127.0.0.1:{server.getsockname()[1]}") as client:
            client.wait_until_ready(PATIENCE)
            assert client.command("AT+MODEL?").lines == ('+MODEL: "flash"',)


def test_a_board_that_answers_only_errors_is_not_waited_for_without_end() -> None:
    def serve() -> None:
        line, _ = server.accept()
        with line, line.makefile("rb") as received, contextlib.suppress(ConnectionError):
            while received.read(1):
                line.sendall(b"ERROR\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        with (
            at.AtClient(f"socket://127.0.0.1:{server.getsockname()[1]}") as client,
            pytest.raises(at.AtTimeoutError, match="answers ATV1 with ERROR"),
        ):
            client.wait_until_ready(0)


def test_what_comes_unasked_is_no_part_of_the_answer() -> None:
    news = '+SYNC: 3,0,1,""'

    def serve() -> None:
        line, _ = server.accept()
        with line, line.makefile("rb") as received:
            for command in (b"AT+GMR\r", b"AT+SYNC\r"):
                assert read_lines(received, 1) == [command]
                line.sendall(f"\r\n{news}\r\n\r\n1.0\r\n\r\nOK\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        with at.AtClient(f"socket://127.0.0.1:{server.getsockname()[1]}") as client:
            assert client.command("AT+GMR") == at.Response(("1.0",), "OK", (news,))
            assert client.command("AT+SYNC") == at.Response((news, "1.0"), "OK")


def test_late_answers_are_skipped_in_a_time_of_its_own() -> None:
    with SimulatedBoard() as board, at.AtClient(board.port) as client:
        client.wait_until_ready(0)


def test_result_codes_that_were_saved_as_numbers(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with SimulatedBoard(storage=storage) as board, serial.Serial(board.port, timeout=PATIENCE) as line:
        line.write(b"ATV0\rAT&W\r")
        assert line.read_until(b"0\r0\r").endswith(b"0\r0\r")
    with SimulatedBoard(storage=storage) as board, at.AtClient(board.port) as client:
        client.wait_until_ready(PATIENCE)
        assert client.command("ATV?").lines == ("V: 1",)


def test_data_goes_only_to_a_command_that_asks_for_it() -> None:
    """Elsewhere it would be command lines."""
    with SimulatedBoard() as board, at.AtClient(board.port) as client:
        assert client.command("AT&W").ok
        with pytest.raises(at.AtError, match="wants no data"):
            client.send('AT+FILES="read","profile.json"', b"AT+CMEE=2\r")
        assert client.command("AT+CMEE?").lines == ("+CMEE: 0",)


def test_a_board_without_a_model_is_not_waited_for() -> None:
    with (
        SimulatedBoard(None) as board,
        at.AtClient(board.port) as client,
        pytest.raises(at.AtError, match="no model: ERROR; run `bitnet-cli deploy`"),
    ):
        client.wait_for_model()


def read_lines(received: IO[bytes], count: int) -> list[bytes]:
    """The next lines, which end in CR."""
    lines = []
    for _ in range(count):
        line = b""
        while not line.endswith(b"\r"):
            line += received.read(1)
        lines.append(line)
    return lines


def test_a_reader_that_is_gone_is_not_the_board() -> None:
    def trace(_direction: str, _line: str) -> None:
        raise BrokenPipeError

    with (
        SimulatedBoard() as board,
        at.AtClient(board.port, trace=trace) as client,
        pytest.raises(BrokenPipeError),
    ):
        client.command("AT")
