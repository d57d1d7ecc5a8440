"""Rules that find the values of slots, learned from phrases: lists of values, and the words around them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..phrases.phrases import NUMBER
from ..progress import Progress
from .patterns import check

_STAGE = "rules of slots"  # of the progress
_NUMBER_PATTERN = r" (-?\d+?[.,]?\d*?) "
_MISTAKE = 4.0  # what a wrong value costs, where a right one is worth 1: none at all is better
_SIZE_POWER = 0.7
_LEAST_GAIN = 0.004  # of an intent's phrases
_MAX_CODE = 120  # bytes of re's code in a list
_LEFT_CONTEXTS, _RIGHT_CONTEXTS, _CHOICES = 16, 6, 6
_MAX_LOOSE = 8  # values in a list that begin with a number: each may begin as the others do
_DIGITS = re.compile(r"\d+")
_TIME = re.compile(r"\d+:\d+")


@dataclass(frozen=True)
class SlotSample:
    """A phrase in the form of rules that could have a slot, and its value there, "" without one."""

    text: str
    value: str
    weight: float
    """The phrase's weight: one divided by the number of its intent's phrases."""


def learn(
    samples: Mapping[str, Sequence[SlotSample]],
    kinds: dict[str, str],
    max_bytes: int,
    progress: Progress,
) -> list[str]:
    """Learn lines that find slots: those that find most for their bytes, the best of a slot first.

    progress counts the bytes taken.
    """
    finders = [_Finder(slot, kinds[slot], phrases) for slot, phrases in samples.items() if phrases]
    left = max_bytes
    while True:
        offers = [(finder.best(left), finder) for finder in finders]
        (score, pattern), finder = max(offers, key=lambda offer: offer[0][0], default=((0.0, ""), None))
        if finder is None or score <= 0:
            progress(_STAGE, max_bytes, max_bytes)
            return [line for finder in finders for line in finder.lines]
        finder.take(pattern)
        left -= len(finder.lines[-1].encode()) + 1
        progress(_STAGE, max_bytes - left, max_bytes)


class _Finder:
    """Finds lines for one slot: those chosen, and the phrases that none of them has answered."""

    def __init__(self, slot: str, kind: str, samples: Sequence[SlotSample]) -> None:
        self.slot = slot
        self.lines: list[str] = []
        self._open = list(samples)
        self._has_lists = kind != NUMBER
        contexts = _contexts(samples) if kind != NUMBER else [_NUMBER_PATTERN]
        self._contexts = sorted(set(filter(_is_allowed, contexts)))
        self._offers: list[tuple[float, int, str]] | None = None

    def best(self, max_bytes: int) -> tuple[float, str]:
        """Return the pattern worth the most for its bytes, and its score; 0 if none is worth anything."""
        if self._offers is None:
            lists = self._list() if self._has_lists else ()
            self._offers = [self._judge(pattern) for pattern in [*self._contexts, *lists]]
        fitting = [(score, pattern) for score, size, pattern in self._offers if size <= max_bytes]
        return max(fitting, default=(0.0, ""))

    def take(self, pattern: str) -> None:
        self.lines.append(self._line(pattern))
        expression = re.compile(pattern)
        self._open = [sample for sample in self._open if not expression.search(sample.text)]
        self._offers = None

    def _line(self, pattern: str) -> str:
        return f"={self.slot}\t{pattern}"

    def _judge(self, pattern: str) -> tuple[float, int, str]:
        """Score and size of a pattern, and the pattern."""
        expression = re.compile(pattern)
        gain = 0.0
        for sample in self._open:
            match = expression.search(sample.text)
            if match:
                gain += sample.weight if match[1].strip() == sample.value else -_MISTAKE * sample.weight
        size = len(self._line(pattern).encode()) + 1
        return (gain / size**_SIZE_POWER if gain >= _LEAST_GAIN else 0.0), size, pattern

    def _list(self) -> Iterator[str]:
        """Return a list of values still to be found: the most valuable for their size that fit a pattern."""
        worth: dict[str, float] = defaultdict(float)
        for sample in self._open:
            if sample.value:
                worth[_shape(sample.value)] += sample.weight
        chosen: list[str] = []
        size, loose = 4, 0
        for shape in sorted(worth, key=lambda shape: (-worth[shape] / len(shape), shape)):
            code = 2 * len(shape.replace(r"\d+?", "##").encode()) + 4
            is_loose = shape.startswith("\\")
            if size + code <= _MAX_CODE and loose + is_loose <= _MAX_LOOSE:
                chosen.append(shape)
                size += code
                loose += is_loose
        # A match takes the first that fits, which should be the longest.
        chosen.sort(key=lambda shape: (-len(shape), shape))
        pattern = f" ({'|'.join(chosen)}) "
        if chosen and _is_allowed(pattern):
            yield pattern


def _shape(value: str) -> str:
    """Return a pattern for a value, with any number for a number in it."""
    escaped = re.sub(r"[.\\]", r"\\\g<0>", _TIME.sub("#:#", value)).replace("#:#", r"\d+?:\d+?")
    return _DIGITS.sub(r"\\d+?", escaped)


def _contexts(samples: Sequence[SlotSample]) -> Iterator[str]:
    """Return patterns of the words around a value: ` in (?:the|my) (.+?) (?:$|to )`."""
    rights: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        before, found, after = sample.text.partition(f" {sample.value} ")
        if sample.value and found:
            words, following = before.split(), after.split()
            right = f"{following[0]} " if following else "$"
            for length in (1, 2):
                left = " ".join(words[-length:])
                if len(words) >= length and not re.search(r"\d|\.", left + right):
                    rights[left][right] += 1
    for lefts in _lefts(rights):
        counts = Counter[str]()
        for left in lefts:
            counts.update(rights.get(left, ()))
        common = sorted(counts, key=lambda right: (-counts[right], right))
        for count in range(1, min(_RIGHT_CONTEXTS, len(common)) + 1):
            yield f" {_any_left(lefts)} (.+?) {_any(common[:count])}"


def _lefts(rights: dict[str, Counter[str]]) -> Iterator[list[str]]:
    """Return words and pairs of words that may precede a value: each alone, the commonest together."""
    ranked = sorted(rights, key=lambda left: (-rights[left].total(), left))
    words = [left for left in ranked if " " not in left]
    pairs = [left.split() for left in ranked if " " in left]
    for left in ranked[:_LEFT_CONTEXTS]:
        yield [left]
    firsts = list(dict.fromkeys(first for first, _ in pairs))
    for count in range(2, _CHOICES + 1):
        yield words[:count]
        for articles in range(1, 4):
            yield [f"{first} {word}" for first in firsts[:count] for word in words[:articles]]


def _any_left(lefts: list[str]) -> str:
    """Return a choice of words, or of first and of second words."""
    places = zip(*(left.split() for left in lefts), strict=True)
    return " ".join(_any(list(dict.fromkeys(words))) for words in places)


def _any(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"


def _is_allowed(pattern: str) -> bool:
    try:
        return check(pattern) == 1
    except ValueError:
        return False
