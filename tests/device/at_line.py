"""A serial line, and what final result codes look like."""

import re
import time

import serial

FINAL = re.compile(rb"\r\n(OK|ERROR|\+CME ERROR: [^\r\n]*)\r\n")


class Line:
    """A serial line without any knowledge of our commands."""

    def __init__(self, port: str) -> None:
        self._serial = serial.Serial(port, 115200, timeout=0.05)

    def close(self) -> None:
        self._serial.close()

    def send(self, data: bytes) -> None:
        self._serial.write(data)

    def results(self, count: int, timeout: float = 20) -> tuple[list[str], bytes]:
        """Wait for `count` final result codes, then a little for more; returns all codes, and all bytes."""
        data = b""
        end = time.monotonic() + timeout
        while len(FINAL.findall(data)) < count and time.monotonic() < end:
            data += self._serial.read(4096)
        data += self._serial.read(4096)
        return [code.decode() for code in FINAL.findall(data)], data

    def ask(self, line: bytes) -> tuple[str, bytes]:
        self.send(line + b"\r")
        codes, data = self.results(1)
        assert len(codes) == 1, data
        return codes[0], data
