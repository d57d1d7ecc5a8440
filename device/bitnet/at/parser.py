# AT command lines: framing, the four forms, typed parameters. Syntax after ITU-T V.250 with ESP-AT's escapes.

from micropython import const

LINE_MAX = const(256)

# Forms of a command.
RUN = const(0)  # AT+X
READ = const(1)  # AT+X?
TEST = const(2)  # AT+X=?
SET = const(3)  # AT+X=...

_QUOTE = const(0x22)
_COMMA = const(0x2C)
_BACKSLASH = const(0x5C)

REPEAT = b"A/"

# +CME ERROR codes; those above 500 are ours.
NOT_ALLOWED = const(3)
NOT_SUPPORTED = const(4)
MEMORY_FULL = const(20)
UNKNOWN = const(100)
NO_MODEL = const(501)
NO_INTENTS = const(502)
DEADLINE = const(503)
STACK = const(504)
SELF_TEST = const(505)
STORAGE = const(506)
CHECKSUM = const(507)
NO_DATA = const(508)
CME_TEXT = {
    NOT_ALLOWED: "operation not allowed",
    NOT_SUPPORTED: "operation not supported",
    MEMORY_FULL: "memory full",
    UNKNOWN: "unknown",
    NO_MODEL: "no model",
    NO_INTENTS: "the model has no intents",
    DEADLINE: "the deadline has passed",
    STACK: "stack exhausted",
    SELF_TEST: "self-test failed",
    STORAGE: "the flash cannot be written",
    CHECKSUM: "the data has another CRC-32: send it again",
    NO_DATA: "the data did not come in time: send it again",
}


class AtError(Exception):
    """Ends a command with +CME ERROR: code. text: what there is to say beyond CME_TEXT, if anything."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text or CME_TEXT[code])
        self.code = code


class SyntaxFault(Exception):
    """Ends a line with ERROR, because it is no command or has wrong parameters."""


class LineReader:
    """Cuts a stream of bytes into lines, which CR, LF or both end. Skips empty ones; A/ needs no end."""

    def __init__(self) -> None:
        self._line = bytearray(LINE_MAX)
        self._length = 0

    @property
    def is_empty(self) -> bool:
        """Say whether no line has begun yet."""
        return self._length == 0

    def read(self, chunk: bytes, at: int) -> tuple:
        """Take the bytes of a chunk from `at` on, up to the end of a line, if there is one.

        Returns the line that has ended, or None, and the place in the chunk to go on from. A line that is too
        long comes as LINE_MAX + 1 bytes.
        """
        end = _line_end(chunk, at)
        piece = chunk[at:end]
        length = self._length
        if length < 2 and (bytes(self._line[:length]) + piece[: 2 - length]).upper() == REPEAT:
            self._length = 0
            return REPEAT, at + 2 - length
        fitting = piece[: max(0, LINE_MAX - length)]
        self._line[length : length + len(fitting)] = fitting
        self._length = length = min(length + len(piece), LINE_MAX + 1)
        if end == len(chunk):
            return None, end
        self._length = 0
        if length == 0:
            return None, end + 1
        line = bytes(self._line[: min(length, LINE_MAX)])
        return line + b"+" if length > LINE_MAX else line, end + 1


def _line_end(chunk: bytes, at: int) -> int:
    """Find the next CR or LF; without one, return the end of the chunk."""
    cr = chunk.find(b"\r", at)
    lf = chunk.find(b"\n", at, cr if cr >= 0 else len(chunk))
    if lf >= 0:
        return lf
    return cr if cr >= 0 else len(chunk)


class Int:
    """A decimal parameter from low to high, which may be left out if it has a default."""

    def __init__(self, low: int, high: int, default: int | None = None) -> None:
        self.low = low
        self.high = high
        self.default = default

    def value(self, argument: int | bytes | None) -> int:
        if argument is None:
            if self.default is None:
                raise SyntaxFault
            return self.default
        if isinstance(argument, bytes) or not self.low <= argument <= self.high:
            raise SyntaxFault
        return argument

    def __str__(self) -> str:
        return _optional(f"({self.low}-{self.high})", self.default)


class Text:
    """A quoted parameter of UTF-8, as bytes, which may be left out if it has a default."""

    def __init__(self, default: bytes | None = None) -> None:
        self.default = default

    def value(self, argument: int | bytes | None) -> bytes:
        if argument is None and self.default is not None:
            return self.default
        if not isinstance(argument, bytes):
            raise SyntaxFault
        try:
            str(argument, "utf-8")
        except UnicodeError:
            raise SyntaxFault from None
        return argument

    def __str__(self) -> str:
        return _optional('"text"', self.default)


class Choice:
    """A quoted parameter that is one of some words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def value(self, argument: int | bytes | None) -> str:
        if isinstance(argument, bytes):
            for word in self.words:
                if word.encode() == argument:
                    return word
        raise SyntaxFault

    def __str__(self) -> str:
        return "(" + ",".join(f'"{word}"' for word in self.words) + ")"


class Crc:
    """A quoted parameter that is a CRC-32 as eight hexadecimal digits; it may be left out."""

    def value(self, argument: int | bytes | None) -> int | None:
        if argument is None:
            return None
        if not isinstance(argument, bytes) or len(argument) != 8:
            raise SyntaxFault
        value = 0
        for digit in argument:
            value = value << 4 | _hex(digit)
        return value

    def __str__(self) -> str:
        return '["crc32"]'


def _optional(described: str, default) -> str:
    return described if default is None else "[" + described + "]"


def parse(line: bytes) -> tuple:
    """Split a line into name, form and arguments. Raises SyntaxFault.

    The name is in upper case and has its + or &; an argument is an int, bytes, or None if it was left out.
    """
    if len(line) > LINE_MAX:
        raise SyntaxFault
    line = line.strip()
    if line[:2].upper() != b"AT":
        raise SyntaxFault
    end = 2
    if end < len(line) and line[end] in b"+&":
        end += 1
    if line[2:3] == b"+":
        while end < len(line) and (_is_letter(line[end]) or 48 <= line[end] <= 57 or line[end] == 0x5F):
            end += 1
    elif end < len(line) and _is_letter(line[end]):
        end += 1
    name = line[2:end].upper()
    rest = line[end:]
    if not rest:
        return name, RUN, ()
    if rest == b"?":
        return name, READ, ()
    if rest == b"=?":
        return name, TEST, ()
    if rest[0] == 0x3D:
        return name, SET, _arguments(rest, 1)
    if line[2:3] != b"+" and name:
        return name, SET, _arguments(rest, 0)  # ATE0
    raise SyntaxFault


def _is_letter(c: int) -> bool:
    return 65 <= c <= 90 or 97 <= c <= 122


def _arguments(text: bytes, i: int) -> tuple:
    """Return the arguments from text[i] to the end, which commas separate. Raises SyntaxFault."""
    arguments = []
    while True:
        if text[i : i + 1] == b'"':
            argument, i = _string(text, i + 1)
            if i < len(text) and text[i] != _COMMA:
                raise SyntaxFault
        else:
            end = text.find(b",", i)
            if end < 0:
                end = len(text)
            argument = _number(text[i:end].strip())
            i = end
        arguments.append(argument)
        if i == len(text):
            return tuple(arguments)
        i += 1


def _number(text: bytes) -> int | None:
    """Return a decimal number, or None for an argument that was left out. Raises SyntaxFault."""
    if not text:
        return None
    digits = text[1:] if text[0] == 0x2D else text
    # int() would accept spaces and underscores.
    if not 1 <= len(digits) <= 9 or not digits.isdigit():
        raise SyntaxFault
    return int(text)


def _string(text: bytes, i: int) -> tuple:
    r"""Return the string that begins at i, and where it ends; unescape \hh and \\ \" \,"""
    end = text.find(b'"', i)
    if end >= 0 and text.find(b"\\", i, end) < 0:
        return text[i:end], end + 1
    out = bytearray()
    while i < len(text):
        c = text[i]
        i += 1
        if c == _QUOTE:
            return bytes(out), i
        if c == _BACKSLASH:
            c = text[i] if i < len(text) else 0
            if c in (_BACKSLASH, _QUOTE, _COMMA):
                i += 1
            else:
                try:
                    c = _hex(text[i]) << 4 | _hex(text[i + 1])
                except IndexError:
                    raise SyntaxFault from None
                i += 2
        out.append(c)
    raise SyntaxFault


def _hex(c: int) -> int:
    if 48 <= c <= 57:
        return c - 48
    c |= 0x20
    if 97 <= c <= 102:
        return c - 87
    raise SyntaxFault


def escape(text: bytes, also: bytes = b"") -> bytes:
    r"""Escape the inside of a string: quotes, backslashes, control characters and `also` become \hh."""
    out = bytearray()
    for c in text:
        if c < 32 or c in (_QUOTE, _BACKSLASH, 127) or c in also:
            out.extend(b"\\%02X" % c)
        else:
            out.append(c)
    return bytes(out)
