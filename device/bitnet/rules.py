# Fallback rules: regular expressions that find the intent and the slots of a phrase when the model cannot.
#
# A file of rules is text. Each line is a rule, with tabs between its columns; the first that matches wins:
#
#     # comment
#     intent<TAB>pattern[<TAB>slots]   names of slots: first those of the pattern's groups, then others
#     =slot<TAB>pattern                finds a slot that no group has given; the value is the first group
#
# Patterns are matched with what normalize() makes of a phrase. patterns.py says which regular expressions may
# be patterns. A file is read line by line whenever a phrase is to be matched, so rules take no RAM otherwise.

import re
from collections import OrderedDict

from micropython import const

from . import storage
from .model import find

USER_RULES = "/user.rules"
_SUFFIX = ".rules"
_MAX_TEXT = const(255)
_MAX_LINE = const(255)
_NO_RULE = b"#="  # the beginnings of lines that are no rules of intents
_SLOT = const(0x3D)  # "="

_NEWLINE = const(0x0A)
_SPACE = const(0x20)
_MINUS = const(0x2D)
_QUOTE = const(0x27)
_PERCENT = const(0x25)
_NON_ASCII = const(0x80)
# Between digits, these belong to a number or a time of day.
_INNER = b".,:"
_CURLY_QUOTE = b"\xe2\x80\x99"
# What re raises for a pattern that it does not take, or that needs too much stack or heap.
_FAULTS = (ValueError, RuntimeError, MemoryError)


class Rules:
    """The user's rules and, after them, the default ones; either file may be missing.

    path: the file of the default rules; None for the first .rules file in /rom, /models and /.
    """

    def __init__(self, path: str | None = None, user_path: str = USER_RULES) -> None:
        self.path = path or _find()
        self.user_path = user_path
        self.skipped = 0  # lines that the last match() could not use

    def match(self, text: str | bytes) -> tuple | None:
        """Return (intent, {slot: value as it stands in the text}) by the first rule that matches, or None.

        A phrase of more than 255 bytes matches nothing. Raises nothing, whatever the files hold.
        """
        if isinstance(text, str):
            text = text.encode()
        self.skipped = 0
        if len(text) > _MAX_TEXT:
            return None
        try:
            phrase, places = normalize(text)
            found = self._walk(lambda line: _try_rule(line, phrase))
            if found is None:
                return None
            intent, names, values = found
            if len(values) < len(names):
                self._walk(lambda line: _try_slot(line, phrase, names, values))
            slots = OrderedDict()
            for name in names:
                value = _original(values[name], phrase, places, text) if name in values else None
                if value:
                    slots[name] = value
            return intent, slots
        except _FAULTS:
            return None

    def lines(self):
        """Yield the user's lines as bytes, from number 1 on; None for one that is too long."""
        file = _open(self.user_path)
        if file is not None:
            with file:
                yield from _lines(file)

    def add(self, line: str) -> None:
        """Append a line to the user's rules. Raises ValueError with the reason if it is no rule."""
        from .patterns import check_line  # noqa: PLC0415 (it takes RAM only where rules are edited)

        if len(line.encode()) > _MAX_LINE:
            raise ValueError(f"a rule has at most {_MAX_LINE} bytes")
        check_line(line)
        self._rewrite(0, line.encode())

    def remove(self, number: int) -> None:
        """Remove the user's line with this number. Raises ValueError if there is none."""
        if not 1 <= number <= sum(1 for _ in self.lines()):
            raise ValueError(f"there is no rule {number}")
        self._rewrite(number, None)

    def _rewrite(self, left_out: int, added: bytes | None) -> None:
        """Write the user's file anew, without one line and with another."""
        with storage.create(self.user_path) as file:
            for number, line in enumerate(self.lines(), 1):
                if number != left_out and line is not None:
                    file.write(line + b"\n")
            if added is not None:
                file.write(added + b"\n")
        storage.commit(self.user_path)

    def _walk(self, visit):
        """Call visit with each line of both files until it returns something; return that, or None."""
        for path in (self.user_path, self.path):
            file = _open(path)
            if file is not None:
                with file:
                    found = self._visit(file, visit)
                if found is not None:
                    return found
        return None

    def _visit(self, file, visit):
        for line in _lines(file):
            try:
                found = visit(line)
            except _FAULTS:
                self.skipped += 1
            else:
                if found is not None:
                    return found
        return None


def normalize(text: bytes) -> tuple:
    """Return a phrase as patterns see it, and for each of its bytes the place in `text`, as a bytearray.

    It has small letters, one space between words and at both ends, no apostrophes, and no punctuation except
    that of numbers ("-3", "21.5", "6:30"), whose units stand apart: "What's 21°C?" becomes " whats 21 °c ".
    """
    phrase, places = bytearray(b" "), bytearray(1)
    at = 0
    while at < len(text):
        byte = text[at]
        if byte == _QUOTE:
            at += 1
            continue
        if byte == _CURLY_QUOTE[0] and text[at : at + 3] == _CURLY_QUOTE:
            at += 3
            continue
        if 0x41 <= byte <= 0x5A:
            byte |= _SPACE
        if not _is_kept(text, at, byte):
            byte = _SPACE
        elif _is_digit(phrase[-1]) and (byte >= 0x61 or byte == _PERCENT):
            phrase.append(_SPACE)
            places.append(at)
        if byte != _SPACE or phrase[-1] != _SPACE:
            phrase.append(byte)
            places.append(at)
        at += 1
    if phrase[-1] != _SPACE:
        phrase.append(_SPACE)
        places.append(len(text) - 1)
    return bytes(phrase), places


def _is_kept(text: bytes, at: int, byte: int) -> bool:
    if 0x61 <= byte <= 0x7A or _is_digit(byte) or byte >= _NON_ASCII or byte == _PERCENT:
        return True
    if at + 1 == len(text) or not _is_digit(text[at + 1]):
        return False
    if byte == _MINUS:
        return at == 0 or text[at - 1] == _SPACE
    return byte in _INNER and at > 0 and _is_digit(text[at - 1])


def _is_digit(byte: int) -> bool:
    return 0x30 <= byte <= 0x39


def _find() -> str | None:
    for path in find(_SUFFIX):
        if path != USER_RULES:
            return path
    return None


def _open(path: str | None):
    try:
        return open(path, "rb") if path else None
    except OSError:
        return None


def _lines(file):
    """Yield lines without their ends, None for one that is too long, up to where the file is damaged."""
    while True:
        try:
            line = part = file.readline(_MAX_LINE + 1)
            while len(part) > _MAX_LINE and part[-1] != _NEWLINE:
                line, part = None, file.readline(_MAX_LINE + 1)
        except OSError:
            return
        if line == b"":
            return
        yield line and line.rstrip(b"\r\n")


def _try_rule(line: bytes | None, phrase: bytes) -> tuple | None:
    """Return intent, names of its slots, and the values that groups give if a line's rule matches, or None.

    Raises one of _FAULTS if the line is damaged.
    """
    if line is None:
        raise ValueError
    if not line or line[0] in _NO_RULE:
        return None
    columns = line.split(b"\t")
    intent, pattern = columns[:2]
    groups = _search(pattern, phrase)
    if groups is None:
        return None
    names = str(columns[2], "utf-8").split() if len(columns) > 2 else []
    values = {name: value for name, value in zip(names, groups) if value}  # noqa: B905 (MicroPython's zip)
    return str(intent, "utf-8"), names, values


def _try_slot(line: bytes | None, phrase: bytes, names: list, values: dict) -> bool | None:
    """Add the value that a line gives for a wanted slot; return True if no more are wanted."""
    if line and line[0] == _SLOT:
        slot, pattern = line[1:].split(b"\t")
        name = str(slot, "utf-8")
        if name in names and name not in values:
            groups = _search(pattern, phrase)
            if groups and groups[0]:
                values[name] = groups[0]
                return len(values) == len(names) or None
    return None


def _search(pattern: bytes, phrase: bytes) -> list | None:
    """Return the groups of a match, without spaces around them; None if there is no match."""
    match = re.compile(pattern).search(phrase)
    if match is None:
        return None
    groups: list = []
    try:
        while True:
            group = match.group(len(groups) + 1)
            groups.append(group and group.strip())
    except IndexError:
        return groups


def _original(value: bytes, phrase: bytes, places: bytearray, text: bytes) -> str | None:
    """Return a value as it stands in the text; if it stands there more than once, in the first place.

    On boards, a match does not say where its groups begin.
    """
    at = phrase.find(b" " + value + b" ") + 1 or phrase.find(value)
    original = text[places[at] : places[at + len(value) - 1] + 1]
    try:
        return str(original, "utf-8")
    except UnicodeError:  # the text is not UTF-8, or the pattern cut a character in two
        return None
