# Sensor features: values of windows over readings, in constant memory. Each value falls into a bin, and each
# bin is a token of the model.
#
# All is computed in integers. host/bitnet_cli/model/features.py computes the same values for training, and
# host/README.md says what each kind of feature is. The definitions are in the metadata of the model file.

import time
from array import array

from micropython import const

# A window is cut into this many parts; the oldest is always dropped as a whole.
_PARTS = const(6)
_HOUR_MS = const(3_600_000)
_AGE_LIMIT_MS = const(0x3FFFFFFF)  # the largest small integer of a 32-bit board


class Features:
    """The features of a model. definitions: `model.metadata().get("features", ())`.

    Readings must come in the order of time, at least one in six days; times are those of time.ticks_ms().
    Raises KeyError, TypeError or ValueError for definitions that this firmware cannot use.
    """

    def __init__(self, definitions) -> None:
        self._meters = [_checked(d, _Age(d) if d["kind"] == "age" else _Window(d)) for d in definitions]
        # The time of the newest reading of any channel, so that one that falls silent runs out of data.
        self._now_ms = 0

    def push(self, channel: str, value: int, now_ms: int) -> None:
        """Take a reading, in the definitions' unit. Raises ValueError if no feature reads the channel."""
        is_read = False
        for definition, meter in self._meters:
            if definition["channel"] == channel:
                meter.push(value, now_ms)
                is_read = True
        if not is_read:
            raise ValueError("no feature reads the channel " + channel)
        self._now_ms = now_ms

    def tokens(self) -> array:
        """Return the tokens of the features that have data, as array('H') for Session.infer()."""
        return array("H", [d["token"] + _bin(d, value) for d, value in self._values()])

    def describe(self):
        """Yield (name, value, text of its token) of each feature that has data."""
        for definition, value in self._values():
            name = definition["name"]
            yield name, value, f"{name}={_bin(definition, value)}"

    def _values(self):
        for definition, meter in self._meters:
            value = meter.value(self._now_ms)
            if value is not None:
                yield definition, value


def _checked(definition: dict, meter) -> tuple:
    """Return both, if the definition has what is used later. Raises KeyError or TypeError."""
    for key, kind in (("channel", str), ("name", str), ("token", int), ("edges", list)):
        if not isinstance(definition[key], kind):
            raise TypeError(key)
    return definition, meter


def _bin(definition: dict, value: int) -> int:
    return sum(1 for edge in definition["edges"] if edge <= value)


class _Window:
    """The readings of a window, folded into one number for each of its parts."""

    def __init__(self, definition: dict) -> None:
        kind = definition["kind"]
        self._fold, self._read = _KINDS[kind]
        self._is_squared = kind == "rms"
        self.part_ms = definition["window"] * 1000 // _PARTS
        if self.part_ms <= 0:
            raise ValueError("window")
        # Lists hold integers of any size, so sums of squares do not overflow; small ones take a word each.
        self._folded = [0] * _PARTS
        self._counts = [0] * _PARTS
        self._newest = 0  # the part that readings go to; the next one in the ring is the oldest
        self._started_ms = 0  # when the newest part began
        self._has_started = False
        self.last = 0

    def push(self, value: int, now_ms: int) -> None:
        if not self._has_started:
            self._has_started = True
            self._started_ms = now_ms
        self._advance(now_ms)
        self.last = value
        if self._is_squared:
            value *= value
        newest = self._newest
        if self._counts[newest]:
            value = self._fold(self._folded[newest], value)
        self._folded[newest] = value
        self._counts[newest] += 1

    def value(self, now_ms: int) -> int | None:
        if self._has_started:
            self._advance(now_ms)
        return self._read(self) if any(self._counts) else None

    def parts(self):
        """Yield (age in parts, what was folded, number of readings) of parts with readings, oldest first."""
        for age in range(_PARTS - 1, -1, -1):
            at = (self._newest - age) % _PARTS
            if self._counts[at]:
                yield age, self._folded[at], self._counts[at]

    def _advance(self, now_ms: int) -> None:
        steps = time.ticks_diff(now_ms, self._started_ms) // self.part_ms
        if steps <= 0:
            return
        self._started_ms = time.ticks_add(self._started_ms, steps * self.part_ms)
        for _ in range(min(steps, _PARTS)):
            self._newest = (self._newest + 1) % _PARTS
            self._folded[self._newest] = self._counts[self._newest] = 0


class _Age:
    """How long the readings have been beyond a threshold."""

    def __init__(self, definition: dict) -> None:
        self._is_upper = "above" in definition
        self._threshold = definition["above" if self._is_upper else "below"]
        self._age_ms: int | None = None
        self._is_beyond = False
        self._last_ms = 0

    def push(self, value: int, now_ms: int) -> None:
        was_beyond = self._is_beyond
        self._is_beyond = value > self._threshold if self._is_upper else value < self._threshold
        age = 0
        if was_beyond and self._is_beyond:
            assert self._age_ms is not None
            age = min(self._age_ms + time.ticks_diff(now_ms, self._last_ms), _AGE_LIMIT_MS)
        self._age_ms = age
        self._last_ms = now_ms

    def value(self, now_ms: int) -> int | None:
        return None if self._age_ms is None else self._age_ms // 1000


def _add(one: int, other: int) -> int:
    return one + other


def _keep(first: int, later: int) -> int:
    return first


def _read_min(window: _Window) -> int:
    return min(folded for _, folded, _ in window.parts())


def _read_max(window: _Window) -> int:
    return max(folded for _, folded, _ in window.parts())


def _read_mean(window: _Window) -> int:
    total = readings = 0
    for _, folded, count in window.parts():
        total += folded
        readings += count
    return _divide(total, readings)


def _read_rms(window: _Window) -> int:
    return _isqrt(_read_mean(window))


def _read_delta(window: _Window) -> int:
    for _, first, _ in window.parts():
        return window.last - first
    return 0


def _read_slope(window: _Window) -> int | None:
    """Fit a line to the means of the parts by least squares; return its change per hour."""
    n = sum_x = sum_xx = sum_y = sum_xy = 0
    for age, folded, count in window.parts():
        mean = _divide(folded, count)
        n += 1
        sum_x -= age
        sum_xx += age * age
        sum_y += mean
        sum_xy -= age * mean
    if n < 2:
        return None
    return _divide((n * sum_xy - sum_x * sum_y) * _HOUR_MS, (n * sum_xx - sum_x * sum_x) * window.part_ms)


# For each kind, how a reading is folded into its part, and how the value is read from the parts.
_KINDS: dict = {
    "min": (min, _read_min),
    "max": (max, _read_max),
    "mean": (_add, _read_mean),
    "rms": (_add, _read_rms),
    "delta": (_keep, _read_delta),
    "slope": (_add, _read_slope),
}


def _divide(a: int, b: int) -> int:
    """Divide a by b, and round to the nearest integer, halves up."""
    return (2 * a + b) // (2 * b)


def _isqrt(n: int) -> int:
    """Return the square root, rounded down."""
    root = n
    while root * root > n:
        root = (root + n // root) // 2
    return root
