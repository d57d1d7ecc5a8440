"""A day of traffic: every channel at once, faults and noise in it, one final result code per line."""

import random
import re
import socket
import threading
import time
from pathlib import Path

from bitnet_cli.at import AtClient
from bitnet_cli.config import Config
from bitnet_cli.paths import STOCK_MODEL
from bitnet_cli.simulator import SimulatedBoard

LINES = 100_000
WARM_UP = 1000
BATCH = 50
CHANNELS = 3
HEAP_SLACK = 1024
"""Bytes: strings of other lengths, a log that was empty."""
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


class Client:
    """Sends batches of lines on a channel, and counts."""

    def __init__(self, channel: socket.socket, seed: int, lines: int) -> None:
        self.sent = self.answered = 0
        self.fault = ""
        self._channel = channel
        self._rng = random.Random(seed)
        self._lines = lines
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self._channel.settimeout(60)
        try:
            while self.sent < self._lines:
                lines = [a_line(self._rng, crash=self._rng.random() < 0.02) for _ in range(BATCH)]
                self._channel.sendall(b"".join(line + b"\r" for line in lines))
                self.sent += BATCH
                data = b""
                while len(FINAL.findall(data)) < BATCH:
                    data += self._channel.recv(65536)
                self.answered += len(FINAL.findall(data))
                if len(FINAL.findall(data)) != BATCH:
                    self.fault = f"{lines}: {data!r}"
                    return
        except OSError as error:
            self.fault = f"{error!r} after {self.answered} lines"


def free_heap(client: AtClient) -> int:
    for command in ("AT+LOG", "AT+FALLBACK=0", "AT+CTX=32", "AT+RESET"):
        assert client.command(command).ok
    for _ in range(3):
        client.infer(PHRASES[0])
    return int(client.command("AT+STAT?").lines[0].removeprefix("+STAT: ").split(",")[0])


def test_a_day_of_traffic(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        SimulatedBoard(STOCK_MODEL, config=Config({"TCP": port})) as board,
        AtClient(board.port) as pty,
    ):
        assert pty.command(f'AT+RULE=0,"{RULE}"').ok
        channels = [socket.create_connection(("127.0.0.1", port)) for _ in range(CHANNELS - 1)]
        for channel in channels:
            time.sleep(0.2)
            assert channel.recv(100) == b"\r\nready\r\n"
        # What is made once is made here: modules, the log, buffers of their final size.
        warm_up = [Client(channel, seed, WARM_UP) for seed, channel in enumerate(channels)]
        for client in warm_up:
            client.thread.join()
        before = free_heap(pty)
        clients = [Client(channel, seed, LINES // CHANNELS) for seed, channel in enumerate(channels)]
        through_pty = 0
        rng = random.Random(99)
        while through_pty < LINES // CHANNELS + BATCH:
            line = a_line(rng, crash=False)
            if line.strip():
                try:
                    pty.command(line.decode("ascii", errors="replace"))
                except Exception as error:
                    if "shorten" not in str(error) and "bytes and the board" not in str(error):
                        raise
                through_pty += 1
        for client in clients:
            client.thread.join()
            assert not client.fault
        for channel in channels:
            channel.close()
        assert through_pty + sum(client.answered for client in clients) >= LINES
        time.sleep(0.2)
        after = free_heap(pty)
        assert after >= before - HEAP_SLACK, (before, after)
