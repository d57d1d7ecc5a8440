# Which regular expressions a rule may have: those that are quick and shallow on any phrase.
#
# MicroPython's re backtracks, and calls itself where it may have to do so: an RP2040's stack is small, and
# nothing stops a match that takes minutes. So what repeats without end must be lazy, which takes no stack,
# and must be a single character, at most twice on a way through a pattern; and there may be few such ways.
#
# The host judges the rules that it makes by this file (host/bitnet_cli/patterns.py), so it is plain Python.

_MAX_PATTERN = 160  # bytes
_MAX_LOOPS = 2
_MAX_WAYS = 16
_MAX_LEVELS = 40  # of recursion
_MAX_JUMP = 127  # bytes of re's code
_MAX_NESTING = 3

_CLASSES = "dDwWsS"


def check_line(line: str) -> None:
    """Check a line of a file of rules: `intent, pattern, slots` or `=slot, pattern`. Raises ValueError."""
    if any(character < " " and character != "\t" for character in line):
        raise ValueError("a line has no control characters but tabs between its columns")
    columns = line.split("\t")
    if line[:1] == "=":
        if len(columns) != 2:
            raise ValueError("a slot's line is =slot, a tab, a pattern")
        if len(columns[0].split()) != 1 or len(columns[0]) == 1:
            raise ValueError("a slot's name is a word after the =")
        if not check(columns[1]):
            raise ValueError("a slot's pattern needs a group ( ) for the value")
        return
    if not 2 <= len(columns) <= 3:
        raise ValueError("a rule is an intent, a pattern and perhaps slots, with tabs between")
    if not columns[0] or columns[0][0] == "#":
        raise ValueError("a rule begins with the name of an intent")
    names = columns[2].split() if len(columns) > 2 else []
    if check(columns[1]) > len(names):
        raise ValueError("a group ( ) is a slot and needs its name; for a choice alone write (?: )")


def check(pattern: str) -> int:
    """Check a pattern; return how many groups it has. Raises ValueError if a rule may not have it."""
    if not pattern:
        raise ValueError("the pattern is empty")
    if len(pattern.encode()) > _MAX_PATTERN:
        raise ValueError(f"the pattern has more than {_MAX_PATTERN} bytes")
    parser = _Parser(pattern)
    _, ways, loops, _ = parser.choice(0)
    if parser.at < len(pattern):
        raise parser.error("no group is open here")
    if loops > _MAX_LOOPS:
        raise ValueError(f"more than {_MAX_LOOPS} of *? and +? on one way through the pattern")
    if ways > _MAX_WAYS:
        raise ValueError("too many ways to match: fewer ? and fewer choices that begin alike")
    if parser.levels > _MAX_LEVELS:
        raise ValueError("too many choices and groups: make two rules of it")
    return parser.groups


class _Parser:
    """Goes through a pattern once. Its methods describe a part of it by a tuple:

    start: the characters with which all begins that the part matches. ways: in how many ways the part can
    match one phrase. loops: the most of *? and +? on a way. size: bytes of re's code.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.groups = 0
        self.levels = 0

    def error(self, reason: str) -> ValueError:
        """Make an error with the place in the pattern."""
        return ValueError(f"at character {self.at + 1} of the pattern: {reason}")

    def peek(self) -> str:
        """Return the next character, "" at the end."""
        return self.pattern[self.at : self.at + 1]

    def choice(self, nesting: int) -> tuple[str, int, int, int]:
        """Describe parts with | between them, up to a closing bracket or the end."""
        parts = [self._sequence(nesting)]
        while self.peek() == "|":
            self.at += 1
            self.levels += 1
            parts.append(self._sequence(nesting))
        if len(parts) == 1:
            return parts[0]
        size = sum(part[3] + 4 for part in parts) - 4
        if size > _MAX_JUMP:
            raise self.error(
                "the choices up to here are too long, about 60 letters fit: make two lines of it"
            )
        # Only choices that begin alike can both match at one place.
        ways = max(sum(b[1] for b in parts if _begin_alike(a[0], b[0])) for a in parts)
        return "", ways, max(part[2] for part in parts), size

    def _sequence(self, nesting: int) -> tuple[str, int, int, int]:
        start, ways, loops, size = "", 1, 0, 0
        is_start = True
        while self.peek() not in ("", "|", ")"):
            literal, item_ways, item_loops, item_size = self._repeated(nesting)
            ways *= item_ways
            loops += item_loops
            size += item_size
            is_start = is_start and len(literal) == 1
            if is_start:
                start += literal
        return start, ways, loops, size

    def _repeated(self, nesting: int) -> tuple[str, int, int, int]:
        """Describe a character, a class, an anchor or a group, with what repeats it."""
        first = self.peek()
        literal, ways, loops, size = self._group(nesting) if first == "(" else self._single()
        sign = self.peek()
        if not sign or sign not in "?*+":
            return literal, ways, loops, size
        if first in "^$" or literal > "\x7f" or size == 0:
            raise self.error(f"{sign} cannot follow this")
        self.at += 1
        is_lazy = self.peek() == "?"
        self.at += is_lazy
        if self.peek() and self.peek() in "?*+":
            raise self.error("one of ?, *? and +? is enough")
        self.levels += 1
        if sign == "?":
            if size > _MAX_JUMP:
                raise self.error("the group is too long for ?")
            return "", ways + 1, loops, size + 2
        if not is_lazy:
            raise self.error(f"{sign} without ? after it takes a level of the stack for each character")
        if first == "(":
            raise self.error("a group cannot repeat: only ? can follow it")
        return "", ways, loops + 1, size + (4 if sign == "*" else 2)

    def _group(self, nesting: int) -> tuple[str, int, int, int]:
        if nesting == _MAX_NESTING:
            raise self.error("groups inside of groups inside of groups")
        self.at += 1
        is_slot = self.peek() != "?"
        if is_slot:
            self.groups += 1
            self.levels += 2
        elif self.pattern[self.at : self.at + 2] == "?:":
            self.at += 2
        else:
            raise self.error("only (?: can follow here")
        _, ways, loops, size = self.choice(nesting + 1)
        if self.peek() != ")":
            raise self.error("a ) is missing")
        self.at += 1
        return "", ways, loops, size + 4 * is_slot

    def _single(self) -> tuple[str, int, int, int]:
        character = self.peek()
        self.at += 1
        if character == "[":
            return "", 1, 0, 2 + 2 * self._class()
        if character == ".":
            return "", 1, 0, 1
        if character in "^$":
            return "", 1, 0, 1
        if character in "?*+":
            raise self.error("nothing to repeat")
        if character == "\\":
            character = self._escaped()
            if len(character) == 2:
                return "", 1, 0, 2
        elif character in "{}]":
            raise self.error(f"{character} must be written \\{character}")
        elif "A" <= character <= "Z":
            raise self.error("phrases are compared in small letters")
        return character, 1, 0, 2 * len(character.encode())

    def _escaped(self) -> str:
        """Return the character after a backslash; the name of a class keeps its backslash."""
        character = self.peek()
        self.at += 1
        if character and character in _CLASSES:
            return "\\" + character
        if not " " < character < "\x7f" or _is_alphanumeric(character):
            raise self.error("only punctuation and d, w, s can follow a backslash")
        return character

    def _class(self) -> int:
        """Count the entries of a class up to the closing bracket."""
        if self.peek() == "^":
            self.at += 1
        count = 0
        while self.peek() != "]":
            first = self._class_character()
            count += 1
            if self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                if self.peek() == "\\":
                    raise self.error("a range cannot end with a backslash")
                last = self._class_character()
                if len(first) != 1 or last < first:
                    raise self.error("no range of characters")
        if not 1 <= count <= 32:
            raise self.error("a class [ ] has 1 to 32 entries")
        self.at += 1
        return count

    def _class_character(self) -> str:
        character = self.peek()
        self.at += 1
        if character == "\\":
            return self._escaped()
        if not character or character in "[" or character > "\x7f":
            raise self.error("a class [ ] has a ] at its end and ASCII in it, [ as \\[")
        if "A" <= character <= "Z":
            raise self.error("phrases are compared in small letters")
        return character


def _is_alphanumeric(character: str) -> bool:
    return "a" <= character <= "z" or "A" <= character <= "Z" or "0" <= character <= "9"


def _begin_alike(a: str, b: str) -> bool:
    length = min(len(a), len(b))
    return a[:length] == b[:length]
