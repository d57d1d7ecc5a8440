"""Sensor features: what `features.toml` and a model's metadata say of them, and their values over readings.

The values are those of device/bitnet/features.py, integer for integer, computed from kept readings instead of
in constant memory.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import BitnetError

FILE_NAME = "features.toml"

_PARTS = 6  # of a window, of which the oldest is dropped as a whole
_HOUR_MS = 3_600_000
_AGE_LIMIT_MS = 0x3FFFFFFF
_AGE = "age"
_KINDS = ("min", "max", "mean", "rms", "delta", "slope", _AGE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KEYS = {"channel", "kind", "window", "scale", "edges", "above", "below"}
_LARGEST = 999_999_999  # as of a reading of AT+FEAT
_LONGEST_WINDOW = 86_400
_DEFAULT_SCALE = 1000


@dataclass(frozen=True)
class Feature:
    """One feature. `edges`, `above` and `below` are integers as the values are: units times `scale`."""

    name: str
    channel: str
    kind: str
    edges: tuple[int, ...]
    scale: int = _DEFAULT_SCALE
    window: int | None = None
    """The window in seconds; None for kind age, which has a threshold instead: `above` or `below`."""
    above: int | None = None
    below: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BitnetError(f"feature {self.name!r}: a name is small letters, digits and _")
        if self.kind not in _KINDS:
            raise BitnetError(f"feature {self.name}: kind is {self.kind!r}, it must be one of {_KINDS}")
        if not self.edges or any(a >= b for a, b in pairwise(self.edges)):
            raise BitnetError(f"feature {self.name}: `edges` must be at least one number, and ascend")
        if self.scale < 1:
            raise BitnetError(f"feature {self.name}: scale is {self.scale}, it must be at least 1")
        thresholds = (self.above is not None) + (self.below is not None)
        if self.kind == _AGE and (thresholds != 1 or self.window is not None):
            raise BitnetError(f"feature {self.name}: kind age has either `above` or `below`, and no `window`")
        if self.kind != _AGE and (thresholds or not 1 <= (self.window or 0) <= _LONGEST_WINDOW):
            raise BitnetError(
                f"feature {self.name}: kind {self.kind} has a `window` of 1 to {_LONGEST_WINDOW} seconds, "
                "and neither `above` nor `below`"
            )

    @property
    def keys(self) -> list[str]:
        """The feature's special tokens, one per bin."""
        return [feature_key(self.name, bin_) for bin_ in range(len(self.edges) + 1)]

    def bin(self, value: int) -> int:
        """Count the edges that a value has reached."""
        return sum(edge <= value for edge in self.edges)


def feature_key(name: str, bin_: int) -> str:
    """Return the special token of a feature's bin, by its key in the vocabulary."""
    return f"<feature:{name}={bin_}>"


def feature_keys(features: Sequence[Feature]) -> list[str]:
    """Return the special tokens of all features, in the order of their ids."""
    return [key for feature in features for key in feature.keys]


def read_definitions(path: Path) -> tuple[Feature, ...]:
    """Read the features of a `features.toml`, a table each. Raises BitnetError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BitnetError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # of UTF-8, of TOML, and of a number of thousands of digits
        raise BitnetError(f"{path}: not TOML: {error}") from error
    try:
        return tuple(_from_table(name, table) for name, table in tables.items())
    except BitnetError as error:
        raise BitnetError(f"{path}: {error}") from None


def to_metadata(features: Sequence[Feature], first_token: int) -> list[dict[str, Any]]:
    """Return the definitions as boards read them, each with the token of its first bin."""
    definitions = []
    token = first_token
    for feature in features:
        fields = {key: value for key, value in to_dict(feature).items() if value is not None}
        definitions.append({**fields, "token": token})
        token += len(feature.keys)
    return definitions


def to_dict(feature: Feature) -> dict[str, Any]:
    """Return a feature's fields for JSON."""
    return {**vars(feature), "edges": list(feature.edges)}


def from_dict(fields: Mapping[str, Any]) -> Feature:
    """Make a feature of such a dictionary; raises TypeError, KeyError or BitnetError if it is not one."""
    return Feature(**{**fields, "edges": tuple(fields["edges"])})


def tokens_of(metadata: Mapping[str, Any], bins: Mapping[str, int]) -> list[int]:
    """Return the tokens of a phrase's features, in the order of a model's metadata. Raises BitnetError."""
    definitions = {definition["name"]: definition for definition in metadata.get("features", ())}
    for name, bin_ in bins.items():
        if name not in definitions or not 0 <= bin_ <= len(definitions[name]["edges"]):
            raise BitnetError(f"the model has no feature {name}={bin_}")
    return [d["token"] + bins[name] for name, d in definitions.items() if name in bins]


class Meters:
    """The values of features as readings come in, in the order of time."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._meters: dict[Feature, _Age | _Window] = {
            feature: _Age(feature) if feature.kind == _AGE else _Window(feature) for feature in features
        }
        self._now_ms = 0

    def push(self, channel: str, value: int, now_ms: int) -> None:
        """Take a reading, in units times the scale of the definitions."""
        self._now_ms = now_ms
        for feature, meter in self._meters.items():
            if feature.channel == channel:
                meter.push(value, now_ms)

    def values(self) -> dict[str, int]:
        """Return the value of each feature that has data, as of the newest reading of any channel."""
        values = {feature.name: meter.value(self._now_ms) for feature, meter in self._meters.items()}
        return {name: value for name, value in values.items() if value is not None}

    def bins(self) -> dict[str, int]:
        """Return the bin of each feature that has data."""
        values = self.values()
        return {f.name: f.bin(values[f.name]) for f in self._meters if f.name in values}


class _Window:
    """All readings of a window, each with the number of the part it came in."""

    def __init__(self, feature: Feature) -> None:
        assert feature.window is not None
        self._kind = feature.kind
        self._part_ms = feature.window * 1000 // _PARTS
        self._first_ms: int | None = None
        self._part = 0
        self._readings: list[tuple[int, int]] = []

    def push(self, value: int, now_ms: int) -> None:
        if self._first_ms is None:
            self._first_ms = now_ms
        self._advance(now_ms)
        self._readings.append((self._part, value))

    def value(self, now_ms: int) -> int | None:
        self._advance(now_ms)
        values = [value for _, value in self._readings]
        if not values:
            return None
        if self._kind == "slope":
            return self._slope()
        if self._kind == "rms":
            return math.isqrt(_mean([value * value for value in values]))
        if self._kind == "delta":
            return values[-1] - values[0]
        if self._kind == "mean":
            return _mean(values)
        return min(values) if self._kind == "min" else max(values)

    def _advance(self, now_ms: int) -> None:
        if self._first_ms is not None:
            self._part = max(self._part, (now_ms - self._first_ms) // self._part_ms)
            self._readings = [(part, v) for part, v in self._readings if part > self._part - _PARTS]

    def _slope(self) -> int | None:
        """Return the change per hour: least squares through the means of the parts."""
        parts = sorted({part for part, _ in self._readings})
        if len(parts) < 2:
            return None
        means = [_mean([value for at, value in self._readings if at == part]) for part in parts]
        n, x_sum, y_sum = len(parts), sum(parts), sum(means)
        covariance = sum((n * x - x_sum) * (n * y - y_sum) for x, y in zip(parts, means, strict=True))
        variance = sum((n * x - x_sum) ** 2 for x in parts)
        return _divide(covariance * _HOUR_MS, variance * self._part_ms)


class _Age:
    """How long the readings have been beyond a threshold."""

    def __init__(self, feature: Feature) -> None:
        self._feature = feature
        self._since_ms: int | None = None
        self._last_ms: int | None = None

    def push(self, value: int, now_ms: int) -> None:
        above, below = self._feature.above, self._feature.below
        if (above is not None and value > above) or (below is not None and value < below):
            self._since_ms = now_ms if self._since_ms is None else self._since_ms
        else:
            self._since_ms = None
        self._last_ms = now_ms

    def value(self, now_ms: int) -> int | None:
        if self._last_ms is None:
            return None
        since_ms = self._last_ms if self._since_ms is None else self._since_ms
        return min(self._last_ms - since_ms, _AGE_LIMIT_MS) // 1000


def _from_table(name: str, table: Any) -> Feature:
    if not isinstance(table, dict) or not set(table) <= _KEYS:
        raise BitnetError(f"feature {name} must be a table of {', '.join(sorted(_KEYS))}")
    scale, kind = table.get("scale", _DEFAULT_SCALE), table.get("kind", "")
    numbers = [*_list(table.get("edges")), *(table[key] for key in ("above", "below") if key in table)]
    whole = [table[key] for key in ("scale", "window") if key in table]
    if not all(_is_number(n, int | float) for n in numbers) or not all(_is_number(n, int) for n in whole):
        raise BitnetError(
            f"feature {name}: `edges`, `above` and `below` are numbers, `scale` and `window` whole ones, "
            f"none beyond {_LARGEST}"
        )
    if not isinstance(table.get("channel"), str) or not table["channel"]:
        raise BitnetError(f"feature {name}: `channel` must name the readings it is made of")
    return Feature(
        name=name,
        channel=table["channel"],
        kind=kind,
        # Ages are seconds whatever the readings are.
        edges=tuple(round(edge * (1 if kind == _AGE else scale)) for edge in table.get("edges", ())),
        scale=scale,
        window=table.get("window"),
        above=round(table["above"] * scale) if "above" in table else None,
        below=round(table["below"] * scale) if "below" in table else None,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def _mean(values: Sequence[int]) -> int:
    return _divide(sum(values), len(values))


def _divide(a: int, b: int) -> int:
    """Divide, to the nearest integer, halves up."""
    return (2 * a + b) // (2 * b)
