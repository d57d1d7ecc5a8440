"""A real Mosquitto broker on loopback, which can be stopped, killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from bitnet_cli.boards.config import UnitConfig

from .patience import PATIENCE


class Broker:
    """A broker that keeps its promises in `folder`, or if it is forgetful only while it runs.

    tls: certificate and key of the server.
    """

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None, forgetful: bool = False) -> None:
        # Debian has it where only root looks.
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            pytest.skip("there is no mosquitto: tests/run installs it")
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            f"persistence {'false' if forgetful else 'true'}",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "user root",
        ]
        if tls:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        config = folder / "mosquitto.conf"
        config.write_text("".join(line + "\n" for line in lines))
        self._command = [program, "-c", str(config)]
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (self._folder / "mosquitto.log").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)

    def connections(self, client_id: str) -> int:
        """How often this client has connected."""
        return (self._folder / "mosquitto.log").read_text().count(f" as {client_id} ")

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop it, or with SIGKILL let it die in the middle of whatever it does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None


def free_port() -> int:
    """A port on loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def config_with_broker(port: int, consent: int = 0) -> UnitConfig:
    """A unit's that is to publish at a port of loopback."""
    sync = {"host": "127.0.0.1", "port": port, "cap": 65536, "unit": "u"}
    sync |= dict.fromkeys(("ca", "topic", "user", "password"))
    return UnitConfig({"SYNC": sync, "FACTORY": {"+SYNC": (consent,)}})


def config_without_broker(consent: int = 0) -> UnitConfig:
    """A unit's that is to publish where nobody listens."""
    return config_with_broker(free_port(), consent)
