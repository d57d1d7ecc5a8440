"""A day of traffic: every channel at once, faults and noise in it, one final result code per line.

A hardware UART and USB need a chip: tests/boards/test_at_on_rp2040.py. BLE's radio is played by
tests/device/scripts/radio.
"""

import json
import socket
import time
from pathlib import Path

import pytest
from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.config import UnitConfig
from bitnet_cli.emulation.simulator import SimulatedBoard
from bitnet_cli.paths import STOCK_MODEL
from support.patience import PATIENCE
from support.traffic import RULE, Client, PtyLine, free_heap, join

pytestmark = pytest.mark.slow

LINES = 100_000
WARM_UP = 1000
BATCH = 50
PTY_BATCH = 10
"""What both directions of a pty hold, so that neither side waits for the other."""
TCP_CLIENTS = 2
HEAP_SLACK = 1024
"""Bytes: strings of other lengths, a log that was empty."""
BLUETOOTH = Path(__file__).parents[1] / "device" / "scripts" / "radio"


class BleLine:
    """The line of a BLE client, who goes and comes back now and then between two commands."""

    CONNECTED, DISCONNECTED, WRITTEN, MTU_EXCHANGED = 1, 2, 3, 21
    STAYS = 100  # batches

    def __init__(self, radio: socket.socket) -> None:
        self._radio = radio
        radio.settimeout(PATIENCE)
        self._events = radio.makefile("rb")
        self._sent = 0
        self.connections = 0

    def sendall(self, data: bytes) -> None:
        if self._sent % self.STAYS == 0:
            self._reconnect()
        self._sent += 1
        self._play(self.WRITTEN, data.hex())

    def recv(self, _size: int) -> bytes:
        while True:
            name, *event = json.loads(self._events.readline())
            if name == "notify":
                assert event[0] == self.connections
                return bytes.fromhex(event[1])

    def _reconnect(self) -> None:
        if self.connections:
            self._play(self.DISCONNECTED, [self.connections, 0, "x"])
        self.connections += 1
        self._play(self.CONNECTED, [self.connections, 0, "x"])
        self._play(self.MTU_EXCHANGED, [self.connections, 185])
        said = b""
        while not said.endswith(b"ready\r\n"):
            said += self.recv(0)

    def _play(self, event: int, data: object) -> None:
        self._radio.sendall(json.dumps([[event, data]]).encode() + b"\n")


def test_a_day_of_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BLUETOOTH)  # where MicroPython looks for modules first
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as radio:
        radio.settimeout(PATIENCE)
        monkeypatch.setenv("RADIO", str(radio.getsockname()[1]))
        with SimulatedBoard(STOCK_MODEL, config=UnitConfig({"TCP": port, "BLE": "bitnet"})) as board:
            run_traffic(board.port, [connect(port) for _ in range(TCP_CLIENTS)], BleLine(radio.accept()[0]))


def connect(port: int) -> socket.socket:
    """A TCP client's line."""
    line = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    said = b""
    while not said.endswith(b"ready\r\n"):
        said += line.recv(100)
    return line


def run_traffic(port: str, tcp: list[socket.socket], ble: BleLine) -> None:
    # What is made once is made here: modules, the log, buffers of their final size.
    with AtClient(port) as client:
        assert client.command(f'AT+RULE=0,"{RULE}"').ok
    warm_up = [Client(line, seed, WARM_UP.__gt__, BATCH) for seed, line in enumerate(tcp)]
    warm_up.append(Client(ble, len(tcp), (2 * BleLine.STAYS).__gt__, 1))
    join(warm_up)
    before = free_heap(port)
    pty = PtyLine(port)
    goes_on = (LINES // (1 + len(tcp)) + BATCH).__gt__
    clients = [Client(line, 10 + seed, goes_on, BATCH) for seed, line in enumerate(tcp)]
    clients.append(Client(pty, 20, goes_on, PTY_BATCH))
    through_ble = Client(ble, 30, lambda _: any(client.thread.is_alive() for client in clients), 1)
    join([*clients, through_ble])
    assert sum(client.answered for client in clients) >= LINES
    assert through_ble.answered > BleLine.STAYS and ble.connections > 3
    for line in (pty, *tcp):
        line.close()
    time.sleep(0.2)
    after = free_heap(port)
    assert after >= before - HEAP_SLACK, (before, after)
