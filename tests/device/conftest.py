"""Runs device code in the real MicroPython, with a random model that has a tokenizer and labels."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.emulation import simulator
from bitnet_cli.emulation.simulator import SimulatedBoard
from support import toy
from support.at_line import Line

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "random.bitnet"
    path.write_bytes(toy.model(seed=1))
    return path


@pytest.fixture(scope="session")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It thinks for dozens of times as long as the random one, and needs 1.5 MB of RAM outside of flash."""
    path = tmp_path_factory.mktemp("model") / "large.bitnet"
    path.write_bytes(toy.model(1, hidden_size=256, intermediate_size=512, num_layers=16))
    return path


@pytest.fixture(scope="module")
def board(random_model: Path) -> Iterator[SimulatedBoard]:
    with SimulatedBoard(random_model) as board:
        yield board


@pytest.fixture
def line(board: SimulatedBoard) -> Iterator[Line]:
    """With the modes that a board starts with."""
    with Line(board.port) as line:
        line.send(b"\rATE0\rAT+CMEE=0\r")
        line.results(2)
        yield line


@pytest.fixture(scope="session")
def on_device() -> Callable[..., Any]:
    """on_device("script.py", arguments…, lines=[…]) → what it printed, each line parsed as JSON."""

    def run(script: str, *arguments: object, lines: list[str] | None = None, heap: str = "2M") -> Any:
        done = subprocess.run(
            [simulator.micropython(), "-X", f"heapsize={heap}", str(SCRIPTS / script), *map(str, arguments)],
            env=simulator.environment(),
            input="".join(line + "\n" for line in lines or []).encode(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()[-1000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
