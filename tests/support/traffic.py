"""Lines as clients send them, with damage and noise in them, and clients that count the answers."""

import random
import re
import threading
from collections.abc import Callable
from typing import Protocol

import serial
from bitnet_cli.boards.at import AtClient

from .patience import PATIENCE

MARKER, MARKED = b"AT+GMI", b"\r\nbitnet-cli\r\n\r\nOK\r\n"
RULE = "lamp_on\\09 lamp.*? on "

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
    """Sends no byte of 3, which is Ctrl-C where a REPL may be."""

    def __init__(self, port: str) -> None:
        self._serial = serial.Serial(port, timeout=PATIENCE)

    def sendall(self, data: bytes) -> None:
        self._serial.write(data.replace(b"\x03", b"?"))

    def recv(self, _size: int) -> bytes:
        data: bytes = self._serial.read(self._serial.in_waiting or 1)
        return data

    def close(self) -> None:
        self._serial.close()


def free_heap(port: str) -> int:
    with AtClient(port, timeout=PATIENCE) as client:
        for command in ("AT+LOG", "AT+FALLBACK=0", "AT+CTX=32", "AT+RESET"):
            assert client.command(command).ok
        for _ in range(3):
            client.infer(PHRASES[0])
        return int(client.command("AT+STAT?").lines[0].removeprefix("+STAT: ").split(",")[0])


def join(clients: list[Client]) -> None:
    for client in clients:
        client.thread.join()
        assert not client.fault
