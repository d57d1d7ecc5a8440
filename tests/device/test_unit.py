"""A unit as it is on a board, where nothing is prepared for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import toy

SYNC = {"host": "127.0.0.1", "port": 1, "cap": 4096, "unit": "u"}
SYNC |= dict.fromkeys(("ca", "topic", "user", "password"))


def start(on_device: Callable[..., Any], folder: Path, **changes: object) -> Any:
    (printed,) = on_device("unit.py", folder, json.dumps({"SYNC": SYNC | changes}), "start")
    return printed


def test_the_first_start_makes_the_folders(on_device: Callable[..., Any], tmp_path: Path) -> None:
    assert start(on_device, tmp_path / "data")[0] is True
    assert (tmp_path / "data" / "sync" / "state").is_file()


def test_flash_that_cannot_be_written_costs_the_sync_alone(
    on_device: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "data").touch()
    has_sync, sync, model = start(on_device, tmp_path / "data")
    assert not has_sync and sync[0] == "sync" and "no queue on flash: " in sync[1]
    assert model[0] == "model"  # it got as far as looking for one


def test_a_queue_that_is_too_small_costs_the_sync_alone(
    on_device: Callable[..., Any], tmp_path: Path
) -> None:
    has_sync, sync, _ = start(on_device, tmp_path / "data", cap=1000)
    assert not has_sync and sync[1] == "no queue on flash: a queue needs at least 1024 bytes"


def test_another_models_answers_are_forgotten(
    on_device: Callable[..., Any], random_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.bitnet"
    other.write_bytes(toy.model(seed=2))
    models = (random_model, random_model, other)
    sources = on_device("unit.py", tmp_path / "data", "{}", "change_model", *models)
    assert sources == ["model", "model", "cache", "cache", "model", "cache", "model", "model", "cache"]


@pytest.mark.parametrize("prefix", [True, False])
def test_the_meter_is_told_the_tokens_that_were_computed(
    on_device: Callable[..., Any], tmp_path: Path, prefix: bool
) -> None:
    """Those of the reply, not those that the model file has stored; and the frequency without a governor."""
    model = tmp_path / "toy.bitnet"
    model.write_bytes(toy.model(seed=1, prefix=prefix))
    for expected, told in on_device("unit.py", tmp_path / "data", "{}", "energy", model):
        assert told == expected


def test_uptime_after_days_without_a_look(on_device: Callable[..., Any], tmp_path: Path) -> None:
    seconds = on_device("unit.py", tmp_path / "data", "{}", "idle", 147, 151, 297, 24)
    assert seconds == [3600 * hours for hours in (147, 298, 595, 619)]


def test_a_fault_is_stored_when_it_begins_and_hourly(
    on_device: Callable[..., Any], random_model: Path, tmp_path: Path
) -> None:
    """4,000 requests that fail, one a second: flash would not outlast a record of each."""
    configuration = json.dumps({"SYNC": SYNC})
    records = on_device("unit.py", tmp_path / "data", configuration, "faults", random_model)
    # At the start, an hour later, and when the model is there but never sure.
    assert records == [["model", 0, 0], ["model", 3600, 3599], ["inference", 3801, 200]]
