"""RAM: what the parts take, and that inference leaves nothing behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def memory(on_device: Callable[..., Any], random_model: Path) -> dict[str, int]:
    """Bytes taken; on 64 bits, where an object takes twice what it takes on a board."""
    (memory,) = on_device("memory.py", random_model)
    return memory


def test_tokenizer(memory: dict[str, int]) -> None:
    assert memory["tokenizer"] <= 8 * 1024


def test_session(memory: dict[str, int]) -> None:
    assert memory["session"] <= 8 * 1024


def test_heap_does_not_shrink(memory: dict[str, int]) -> None:
    assert memory["after"] >= memory["before"]


def test_no_allocation_per_token(memory: dict[str, int]) -> None:
    """A phrase that is nine times as long leaves its own bytes more, and nothing else."""
    assert memory["answer 255"] - memory["answer 29"] <= 2 * (255 - 29)
