"""A client for the board's AT commands, over a serial port, a pty or a socket."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from zlib import crc32

import serial

from ..errors import BitnetError

LINE_MAX = 256  # bytes of a command line, without its end

ANSWER_TIMEOUT = 30.0
"""Seconds that an answer may take, unless a client says otherwise."""

_START_TIMEOUT = 180.0  # seconds from reset to the first answer: an emulated board on a busy PC takes long
_READY_POLL = 0.5  # seconds
_PROMPT_TIMEOUT = 5.0  # seconds: it comes right behind the OK
_WORDS = "ATV1"  # result codes as words: a saved ATV0 would have them as numbers
_DISTINCT = "AT+CMEE?"  # has an answer of its own, and every board knows it

_NEWS = "+SYNC"  # also comes unasked, at any time before the reply to something else
_FINAL = re.compile(r"OK|ERROR|\+CME ERROR: .*")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb'\\([0-9A-Fa-f]{2}|[\\",])')


class AtError(BitnetError):
    """The board cannot be reached, does not answer, or answers with an error."""


class AtTimeoutError(AtError):
    """No final result code came in time."""


@dataclass(frozen=True)
class Response:
    """The lines of information before the final result code, that code, and what came unasked meanwhile."""

    lines: tuple[str, ...]
    final: str
    unsolicited: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.final == "OK"


@dataclass(frozen=True)
class Answer:
    """What AT+INFER answers: confidence in permille, slots in the order of the reply.

    source: `model`, `cache` or `rule`; age: seconds since the answer was cached.
    """

    intent: str
    confidence: int
    slots: dict[str, str]
    source: str
    latency_ms: int
    prompt_tokens: int
    age: int = 0


class AtClient:
    """Sends commands to a board and waits for their final result codes.

    port: a device, or a URL that pyserial knows, such as socket://192.168.1.5:2000 of a serial server.
    trace, if given, is called with each line sent (">", line) and received ("<", line).
    """

    def __init__(
        self,
        port: str,
        baudrate: int = 115200,
        timeout: float = ANSWER_TIMEOUT,
        trace: Callable[[str, str], None] | None = None,
    ) -> None:
        self.timeout = timeout
        self.trace = trace
        try:
            self._serial = serial.serial_for_url(port, baudrate, timeout=timeout, write_timeout=timeout)
        except (serial.SerialException, ValueError) as error:
            raise AtError(f"cannot open the port {port}: {error}") from None

    def __enter__(self) -> "AtClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._serial.close()

    def command(self, line: str, timeout: float | None = None) -> Response:
        """Send one command line, without its end; raises AtTimeoutError if the board is not done in time.

        Text that may hold any characters goes into it through quote().
        """
        data = _encode(line)
        if len(data) > LINE_MAX:
            raise AtError(
                f"the command takes {len(data)} bytes and the board's line holds {LINE_MAX}: shorten the text"
            )
        if b"\r" in data or b"\n" in data:
            raise AtError("a command line cannot contain a line end; use quote() for text")
        deadline = self._deadline(timeout)
        with self._faults(line):
            self._serial.reset_input_buffer()  # what a command that timed out may have left
            self._serial.write(data + b"\r")
            if self.trace:
                self.trace(">", line)
            return self._response(line, deadline)

    def send(self, line: str, data: bytes, timeout: float | None = None) -> Response:
        """Send a command without its length and CRC-32, and the data it wants; returns the last response.

        Raises AtError if the board refuses the command or does not ask for data, which then is not sent.
        """
        line = f'{line},{len(data)},"{crc32(data):08X}"'
        response = self.command(line, timeout)
        if not response.ok:
            raise AtError(f"the board refuses {line}: {response.final}")
        deadline = self._deadline(timeout)
        with self._faults(line):
            self._serial.timeout = max(0, min(_PROMPT_TIMEOUT, deadline - time.monotonic()))
            if not self._serial.read_until(b">").endswith(b">"):
                raise AtError(f"{line} wants no data: send it without")
            self._serial.write(data)
            return self._response(line, deadline)

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until the board, which may be starting, answers; raises AtTimeoutError if it does not in time.

        Result codes are words from then on.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                response = self.command(_WORDS, _READY_POLL)
                if response.ok:
                    break
                fault = AtTimeoutError(
                    f"the board at {self._serial.port} answers {_WORDS} with {response.final}"
                )
            except AtTimeoutError as error:
                fault = error
            if time.monotonic() > deadline:
                raise fault
        self._skip_late_answers(max(timeout, self.timeout))

    def _skip_late_answers(self, timeout: float) -> None:
        """Skip answers that come late, up to the first that can only be the one to a new command."""
        deadline = self._deadline(timeout)
        with self._faults(_DISTINCT):
            self._serial.write(_DISTINCT.encode() + b"\r")
            while not any(line.startswith("+CMEE:") for line in self._response(_DISTINCT, deadline).lines):
                pass

    def wait_for_model(self, timeout: float = _START_TIMEOUT) -> None:
        """Wait until the board is ready; raises AtError as well if it has not found a model."""
        self.wait_until_ready(timeout)
        response = self.command("AT+MODEL?")
        if not response.ok:
            raise AtError(f"the board has no model: {response.final}; run `bitnet-cli deploy`")

    def infer(self, text: str, timeout: float | None = None) -> Answer:
        """Ask for the answer to a phrase; raises AtError if the board has none."""
        command = f"AT+INFER={quote(text)}"
        response = self.command(command, timeout)
        if not response.ok:
            raise AtError(f"the board refuses {command}: {response.final}")
        return parse_infer(response.lines)

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    @contextlib.contextmanager
    def _faults(self, line: str) -> Iterator[None]:
        """Raise AtError for what goes wrong with the port while a line is sent and answered."""
        try:
            yield
        except serial.SerialTimeoutException:
            raise AtTimeoutError(f"the board does not take {line!r}") from None
        except BrokenPipeError:
            raise  # from the trace: its reader is gone, not the board
        except (serial.SerialException, OSError) as error:
            raise AtError(f"the connection to {self._serial.port} broke: {error}") from None

    def _response(self, line: str, deadline: float) -> Response:
        lines: list[str] = []
        unsolicited: list[str] = []
        while True:
            text = self._read_line(deadline)
            if text is None:
                raise AtTimeoutError(f"no answer to {line!r} in time; is a board at {self._serial.port}?")
            if not text or text == line:  # the frame of a reply, or an echo
                continue
            if self.trace:
                self.trace("<", text)
            if _FINAL.fullmatch(text):
                return Response(tuple(lines), text, tuple(unsolicited))
            is_news = text.startswith(_NEWS) and _NEWS not in line.upper()
            (unsolicited if is_news else lines).append(text)

    def _read_line(self, deadline: float) -> str | None:
        """Read the next line, without its end; None when time is up."""
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._serial.timeout = left
            line += self._serial.read_until(b"\n")
        return line.strip(b"\r\n").decode(errors="replace")


def quote(text: str) -> str:
    r"""Quote text as an AT string: quotes, backslashes and control characters become \hh."""
    escaped = re.sub(r'["\\\x00-\x1f\x7f]', lambda match: f"\\{ord(match[0]):02X}", text)
    return f'"{escaped}"'


def unescape(text: str) -> str:
    r"""Unescape an AT string without its quotes: \hh, \\, \" and \, become characters."""

    def character(match: re.Match[bytes]) -> bytes:
        return bytes.fromhex(match[1].decode()) if len(match[1]) == 2 else match[1]

    return _ESCAPE.sub(character, text.encode()).decode(errors="replace")


def parse_infer(lines: tuple[str, ...]) -> Answer:
    """Parse the answer in the information lines of AT+INFER."""
    prefix = "+INFER: "
    for line in lines:
        if line.startswith(prefix):
            strings = _STRING.findall(line)
            numbers = re.findall(r"(?<=,)\d+", _STRING.sub("", line))
            if len(strings) == 3 and len(numbers) == 4:
                intent, slots, source = strings
                return Answer(
                    unescape(intent),
                    int(numbers[0]),
                    _slots(slots),
                    unescape(source),
                    *map(int, numbers[1:]),
                )
    raise AtError(f"the board's answer has no +INFER line in the known form: {lines}")


def _slots(text: str) -> dict[str, str]:
    """Split slots, and unescape only then: separators inside a value are escaped."""
    slots = {}
    for slot in filter(None, text.split(";")):
        name, _, value = slot.partition("=")
        slots[unescape(name)] = unescape(value)
    return slots


def _encode(line: str) -> bytes:
    try:
        return line.encode()
    except UnicodeEncodeError:
        raise AtError(f"{line!r} is not valid Unicode text") from None
