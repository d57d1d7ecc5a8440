"""`bitnet-cli at` as a user runs it."""

import json
import subprocess
from pathlib import Path

from bitnet_cli.emulation.simulator import SimulatedBoard
from support import command_line


def at(board: SimulatedBoard, *arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    return command_line.run("at", "--port", board.port, *arguments, typed=typed)


def test_one_shot(board: SimulatedBoard) -> None:
    done = at(board, "AT+GMR", "AT+CMEE?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0.1.0", "OK", "+CMEE: 0", "OK"]


def test_json(board: SimulatedBoard) -> None:
    done = at(board, "--json", "AT+CMEE?")
    assert json.loads(done.stdout) == {
        "command": "AT+CMEE?",
        "lines": ["+CMEE: 0"],
        "final": "OK",
        "unsolicited": [],
    }


def test_a_refusal(board: SimulatedBoard) -> None:
    done = at(board, "AT+NOPE", "AT+GMR")
    assert done.returncode == 2
    assert done.stderr == "bitnet-cli at: the board refuses AT+NOPE: ERROR\n"
    assert "0.1.0" not in done.stdout


def test_typed(board: SimulatedBoard) -> None:
    """A refusal or a line that cannot be sent does not end the conversation."""
    done = at(board, typed=f'AT+NOPE\n\nAT+INFER="{300 * "x"}"\nAT+GMR\n')
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["ERROR", "0.1.0", "OK"]
    assert "shorten" in done.stderr
    assert done.stderr.splitlines()[-1] == "bitnet-cli at: 2 of the commands failed"
    done = at(board, typed="AT\nAT+GMR\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_typed_text_that_is_not_utf8(board: SimulatedBoard) -> None:
    done = at(board, typed='AT+INFER="\udcff"\nAT+GMR\n')
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["0.1.0", "OK"]
    assert done.stderr.count("\n") == 2 and "Traceback" not in done.stderr


def test_data(board: SimulatedBoard, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20
    (tmp_path / "blob").write_bytes(content)
    done = at(board, 'AT+FILES="write","blob"', "--data", tmp_path / "blob")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Recv 5120 bytes", "OK"]
    done = at(board, 'AT+FILES="read","blob"')
    assert "".join(line.split('"')[1] for line in done.stdout.splitlines()[:-1]) == content.hex()


def test_data_that_the_board_refuses(board: SimulatedBoard, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    for command in ('AT+FILES="write","../main.py"', "AT+GMR"):
        done = at(board, command, "--data", tmp_path / "blob")
        assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_wrong_arguments(board: SimulatedBoard, tmp_path: Path) -> None:
    done = at(board, "AT", "AT", "--data", tmp_path)
    assert done.returncode == 2 and "--data goes with one command" in done.stderr
    done = at(board, "AT", "--data", tmp_path / "none")
    assert done.returncode == 2 and "cannot read" in done.stderr
