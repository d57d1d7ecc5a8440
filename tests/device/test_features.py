"""Sensor features in MicroPython: the host's values on any stream of readings, in constant memory."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from bitnet_cli.model.features import Feature, Meters, from_dict, to_metadata, tokens_of
from bitnet_cli.model.modelfile import read
from bitnet_cli.paths import DEVICE

WINDOW_MS = 60_000
EDGES = (-300, 0, 1, 250, 1000, 40_000)
KINDS = ("min", "max", "mean", "rms", "delta", "slope")
FIRST_TOKEN = 300

OnDevice = Callable[..., Any]
Reading = tuple[str, int, int]


def windowed(kind: str, window: int = WINDOW_MS // 1000, channel: str = "a") -> Feature:
    return Feature(f"{channel}_{kind}_{window}s", channel, kind, EDGES, window=window)


ALL = (
    *(windowed(kind) for kind in KINDS),
    *(windowed(kind, 7, "b") for kind in KINDS),
    Feature("a_high", "a", "age", (1, 30, 90), above=200),
    Feature("b_low", "b", "age", (1, 30, 90), below=-5),
)


def device_values(on_device: OnDevice, features: tuple[Feature, ...], readings: list[Reading]) -> list[Any]:
    definitions = json.dumps(to_metadata(features, FIRST_TOKEN))
    return list(on_device("features.py", lines=[definitions, *map(json.dumps, readings)]))


def value_after(on_device: OnDevice, feature: Feature, readings: list[tuple[int, int]]) -> int | None:
    """The feature's value after readings of (value, seconds)."""
    last = device_values(on_device, (feature,), [("a", value, 1000 * s) for value, s in readings])[-1]
    return int(last[0][0][1]) if last[0] else None


def stream(rng: random.Random, count: int, spread: int) -> list[Reading]:
    now, level, readings = 0, 0, []
    for _ in range(count):
        now += rng.choice((0, 1, 900, 1000, 1100, 9999, 10_000, 10_001, rng.randrange(200_000)))
        level = rng.choice((level, rng.randrange(-spread, spread + 1)))
        readings.append((rng.choice("aab"), level + rng.randrange(-9, 10), now))
    return readings


@pytest.mark.parametrize("spread", [20, 50_000, 1_000_000_000])
def test_equals_the_host_on_random_streams(on_device: OnDevice, spread: int) -> None:
    readings = stream(random.Random(spread), 1500, spread)
    meters = Meters(ALL)
    first_tokens = {d["name"]: d["token"] for d in to_metadata(ALL, FIRST_TOKEN)}
    by_name = {feature.name: feature for feature in ALL}
    seen = set()
    for reading, (described, tokens) in zip(readings, device_values(on_device, ALL, readings), strict=True):
        meters.push(*reading)
        values = meters.values()
        assert {name: value for name, value, _ in described} == values
        assert tokens == [first_tokens[name] + bin_ for name, bin_ in meters.bins().items()]
        assert [text for *_, text in described] == [
            by_name[name].keys[bin_].removeprefix("<feature:").removesuffix(">")
            for name, bin_ in meters.bins().items()
        ]
        seen |= set(tokens)
    assert len(seen) > len(ALL) * 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("min", -20), ("max", 50), ("mean", 23), ("rms", 34), ("delta", 35), ("slope", 5904)],
)
def test_what_each_kind_is(on_device: OnDevice, kind: str, expected: int) -> None:
    """The means of the parts are 10, −20, 30 and 47.5, taken as 48: they rise by 16.4 in ten seconds."""
    readings = [(10, 0), (-20, 10), (30, 20), (50, 30), (45, 39)]
    assert value_after(on_device, windowed(kind), readings) == expected


def test_what_leaves_the_window_is_forgotten(on_device: OnDevice) -> None:
    """A window of 60 s is the part of 10 s that the newest reading is in, and the five before it."""
    assert value_after(on_device, windowed("max"), [(99, 0), (1, 59)]) == 99
    assert value_after(on_device, windowed("max"), [(99, 0), (1, 60)]) == 1
    assert value_after(on_device, windowed("max"), [(0, 0), (99, 9), (1, 60)]) == 1
    assert value_after(on_device, windowed("slope"), [(99, 0), (1, 60)]) is None


def test_a_channel_that_falls_silent_has_no_data(on_device: OnDevice) -> None:
    features = (windowed("mean"), windowed("mean", channel="b"))
    readings = [("a", 5, 0), ("b", 6, 59_000), ("b", 7, 60_000)]
    described = [entry[0] for entry in device_values(on_device, features, readings)]
    assert [[name[0] for name, *_ in one] for one in described] == [["a"], ["a", "b"], ["b"]]


def test_age_begins_anew(on_device: OnDevice) -> None:
    high = Feature("a_high", "a", "age", (1,), above=10)
    assert value_after(on_device, high, [(10, 0), (10, 50)]) == 0
    assert value_after(on_device, high, [(11, 0), (12, 50), (11, 61)]) == 61
    assert value_after(on_device, high, [(11, 0), (10, 50), (11, 61), (11, 70)]) == 9


def test_the_shipped_model_gets_its_tokens(on_device: OnDevice) -> None:
    """With the definitions of the model file as they stand, as the unit reads them."""
    metadata = read((DEVICE / "models" / "occupancy.bitnet").read_bytes()).metadata
    fields = [{key: value for key, value in d.items() if key != "token"} for d in metadata["features"]]
    meters = Meters([from_dict(one) for one in fields])
    rng = random.Random(0)
    readings = [
        (one["channel"], rng.randrange(700_000), 60_000 * minute) for minute in range(100) for one in fields
    ]
    printed = on_device("features.py", lines=[json.dumps(metadata["features"]), *map(json.dumps, readings)])
    for reading, (_, tokens) in zip(readings, printed, strict=True):
        meters.push(*reading)
        assert tokens == tokens_of(metadata, meters.bins())
    assert len(printed[-1][1]) == len(fields)


def test_memory_is_constant(on_device: OnDevice) -> None:
    definitions = json.dumps(to_metadata(ALL, FIRST_TOKEN))
    (taken, per_feature) = on_device("features_memory.py", lines=[definitions])[0]
    assert taken <= 0
    assert per_feature <= 640


def test_an_unknown_channel_is_refused(on_device: OnDevice) -> None:
    with pytest.raises(AssertionError, match="ValueError: no feature reads the channel c"):
        device_values(on_device, ALL, [("c", 1, 1)])
