"""The pty of an emulated chip: clients that do not read, and an emulation that fails."""

import os
import threading
from typing import Any

import pytest
from bitnet_cli.boards.at import AtClient, AtError
from bitnet_cli.emulation.pico import PicoPort
from bitnet_cli.errors import BitnetError
from support.patience import PATIENCE

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

_PTY_HOLDS = 1 << 17  # bytes, at most


class Talker:
    """A stand-in for a Pico that says a lot, in numbered lines, and then nothing more."""

    is_idle = False

    def __init__(self) -> None:
        self.received = bytearray()
        self.said = b"".join(b"%07d\n" % number for number in range(_PTY_HOLDS // 4))
        self.has_said_all = threading.Event()
        self._at = 0

    def run_for(self, seconds: float) -> None:
        self.received += self.said[self._at : self._at + 4096]
        self._at += 4096
        if self._at >= len(self.said):
            self.has_said_all.set()


def test_a_chip_runs_on_while_nobody_reads() -> None:
    pico: Any = Talker()
    port = PicoPort(pico)
    assert pico.has_said_all.wait(PATIENCE)
    reader = os.open(port.port, os.O_RDONLY | os.O_NOCTTY)
    read = b""
    while len(read) < len(pico.said):
        read += os.read(reader, 65536)
    os.close(reader)
    assert read == pico.said
    port.close()


def test_it_can_be_closed_while_nobody_reads() -> None:
    pico: Any = Talker()
    port = PicoPort(pico)
    assert pico.has_said_all.wait(PATIENCE)
    port.close()
    port.close()
    assert not port.is_running


class Broken(Talker):
    is_idle = True

    def send(self, data: bytes) -> None:
        raise IndexError("no such register")


def test_an_emulation_that_fails_is_told_to_everybody() -> None:
    """The client's line hangs up; who waits, or else who closes, gets the reason, once."""
    pico: Any = Broken()
    port = PicoPort(pico)
    with AtClient(port.port) as client, pytest.raises(AtError, match="broke"):
        client.command("AT")
    with pytest.raises(BitnetError, match="the emulated board stopped: IndexError: no such register"):
        port.wait()
    port.close()
    port = PicoPort(pico)
    with AtClient(port.port) as client, pytest.raises(AtError, match="broke"):
        client.command("AT")
    with pytest.raises(BitnetError, match="no such register"):
        port.close()
    port.close()
