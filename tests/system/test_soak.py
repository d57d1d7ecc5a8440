"""A day of traffic: every channel at once, faults and noise in it, one final result code per line.

A hardware UART needs a chip: tests/boards/test_at_on_rp2040.py. BLE's radio is played (tests/device/scripts).
"""

import json
import random
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import serial
from bitnet_cli.at import AtClient
from bitnet_cli.config import Config
from bitnet_cli.paths import STOCK_MODEL
from bitnet_cli.simulator import SimulatedBoard

LINES = 100_000
WARM_UP = 1000
BATCH = 50
PTY_BATCH = 10
"""What both directions of a pty hold, so that neither side waits for the other."""
PATIENCE = 60  # seconds
MARKER, MARKED = b"AT+GMI", b"\r\nbitnet-cli\r\n\r\nOK\r\n"
TCP_CLIENTS = 2
HEAP_SLACK = 1024
"""Bytes: strings of other lengths, a log that was empty."""
RULE = "lamp_on\\09 lamp.*? on "

BLUETOOTH = Path(__file__).parents[1] / "device" / "scripts" / "radio"

FINAL = re.compile(rb"\r\n(?:OK|ERROR|\+CME ERROR: [^\r\n]*)\r\n")
PHRASES = (
    "Set the kitchen to 21 degrees",
    "What's the temp?",
    "turn the lamp on",
    "Wer hat gewonnen? ☀️",
    "x" * 200,
    "",
)


def a_line(rng: random.Random, crash: bool) -> bytes:
    """A command as a client might send it; with `crash`, also what makes the model fail."""
    phrase = rng.choice(PHRASES)
    lines = [
        f'AT+INFER="{phrase}"',
        f'AT+INFER="{phrase}",{rng.randrange(1, 3)}',  # a deadline that passes now and then
        f'AT+GEN="{phrase[:40]}",{rng.randrange(1, 4)}',
        f'AT+CHAT="{phrase[:40]}",2',
        "AT",
        "ATI",
        "AT+CLAC",
        "AT+MODEL?",
        "AT+CTX?",
        "AT+RESET",
        f"AT+FALLBACK={rng.randrange(4)},{rng.choice((0, 300, 1000))}",
        "AT+FALLBACK?",
        "AT+STAT?",
        "AT+LOG?",
        "AT+LOG",
        "AT+RULE?",
        "AT+SYNC?",
        "AT+DVFS?",
        "AT+ENERGY?",
        "AT+FEAT?",
        "AT+FILES?",
        f"AT+CMEE={rng.randrange(3)}",
        "AT+CMEE?",
        "AT+LORA",
        "ATZ",
        "AT&F",
        "AT+NOPE",
        'AT+INFER="open',
    ]
    if crash:
        lines += ['AT+MODEL="/rom/none.bitnet"', "AT+CTX=8", "AT+CTX=32", "AT+SELFTEST", "AT&W"]
    line = rng.choice(lines).encode()
    if rng.random() < 0.1:
        damaged = bytearray(line)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        line = bytes(damaged)
    elif rng.random() < 0.03:
        line = rng.randbytes(rng.randrange(1, 400))
    line = re.sub(rb"[\r\n]", b"?", line)
    # What would change how replies are counted: A/, V0, echo, and bytes that are waited for.
    if re.match(rb"\s*(A/|AT\s*(E|V|&F)|AT\+FILES=.*write)", line, re.IGNORECASE):
        return b"AT"
    return line


class Line(Protocol):
    """What a client sends and receives through."""

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...


class Client:
    """Sends batches of lines while `goes_on` says so of how many it has sent, and counts."""

    def __init__(self, line: Line, seed: int, goes_on: Callable[[int], bool], batch: int) -> None:
        self.answered = 0
        self.fault = ""
        self._line = line
        self._rng = random.Random(seed)
        self._goes_on = goes_on
        self._batch = batch
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while self._goes_on(self.answered):
                self._exchange()
        except Exception as error:  # the test looks at it
            self.fault = f"{error!r} after {self.answered} lines"

    def _exchange(self) -> None:
        """A batch, and a line whose answer no other has: before that, one final result code per line."""
        lines = [a_line(self._rng, crash=self._rng.random() < 0.02) for _ in range(self._batch)]
        self._line.sendall(b"".join(line + b"\r" for line in [*lines, MARKER]))
        data = b""
        while MARKED not in data:
            piece = self._line.recv(4096)
            assert piece, f"nothing more after {data!r} to {lines}"
            data += piece
        codes = len(FINAL.findall(data)) - 1
        assert codes == len(lines), f"{codes} codes to {lines}: {data!r}"
        self.answered += codes


class PtyLine:
    def __init__(self, port: str) -> None:
        self._serial = serial.Serial(port, timeout=PATIENCE)

    def sendall(self, data: bytes) -> None:
        self._serial.write(data)

    def recv(self, _size: int) -> bytes:
        data: bytes = self._serial.read(self._serial.in_waiting or 1)
        return data

    def close(self) -> None:
        self._serial.close()


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


def free_heap(port: str) -> int:
    with AtClient(port) as client:
        for command in ("AT+LOG", "AT+FALLBACK=0", "AT+CTX=32", "AT+RESET"):
            assert client.command(command).ok
        for _ in range(3):
            client.infer(PHRASES[0])
        return int(client.command("AT+STAT?").lines[0].removeprefix("+STAT: ").split(",")[0])


def test_a_day_of_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BLUETOOTH)  # where MicroPython looks for modules first
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as radio:
        radio.settimeout(PATIENCE)
        monkeypatch.setenv("RADIO", str(radio.getsockname()[1]))
        with SimulatedBoard(STOCK_MODEL, config=Config({"TCP": port, "BLE": "bitnet"})) as board:
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


def join(clients: list[Client]) -> None:
    for client in clients:
        client.thread.join()
        assert not client.fault
