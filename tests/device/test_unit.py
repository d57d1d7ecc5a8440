"""A unit as it is on a board, where nothing is prepared for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toy

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
