"""The queue of records: what a power cut, half a record or a flipped bit leaves of it."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.slow
def test_a_power_cut_at_any_write_loses_nothing(on_device: Callable[..., Any]) -> None:
    (done,) = on_device("queue.py", "cuts", heap="4M")
    print(done)
    assert done["cuts"] > 500 and done["erases"] < 250
    assert done["drops"] > 10  # the queue was full


def test_half_a_record_is_cut_off(on_device: Callable[..., Any]) -> None:
    (length,) = on_device("queue.py", "torn", heap="4M")
    assert length > 50


def test_a_flipped_bit_costs_no_other_segment(on_device: Callable[..., Any]) -> None:
    count, fewest, most = on_device("queue.py", "damaged", heap="4M")[0]
    assert 1 <= fewest <= most <= count < 20


def test_memory_does_not_grow_with_the_queue(on_device: Callable[..., Any]) -> None:
    grown, _ = on_device("queue.py", "memory", heap="4M")[0]
    assert grown <= 64
