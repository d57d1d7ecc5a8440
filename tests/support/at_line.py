"""A serial line, and what final result codes look like."""

import re
import time
from types import TracebackType
from typing import Self

import serial

from .patience import PATIENCE

FINAL = re.compile(rb"\r\n(OK|ERROR|\+CME ERROR: [^\r\n]*)\r\n")

_POLL = 0.05  # seconds


class Line:
    """A serial line without any knowledge of our commands."""

    def __init__(self, port: str) -> None:
        self._serial = serial.Serial(port, 115200, timeout=_POLL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serial.close()

    def send(self, data: bytes) -> None:
        self._serial.write(data)

    def wait_for(self, text: bytes, timeout: float = PATIENCE) -> bytes:
        """Read until a text has come, and no further; returns all that came."""
        self._serial.timeout = timeout
        data: bytes = self._serial.read_until(text)
        self._serial.timeout = _POLL
        assert data.endswith(text), data
        return data

    def results(self, count: int, timeout: float = PATIENCE) -> tuple[list[str], bytes]:
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
