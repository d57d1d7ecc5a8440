"""The watchdog on chips that are not emulated: when it starts, and what it takes for a hung command."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("chip", "cause", "was_hung"),
    [
        ("esp32", "hung", True),
        ("esp32", "stuck", False),
        ("esp32", "power", False),
        ("bare", "stuck", False),  # nothing outlives the reset: it cannot be told
    ],
)
def test_only_a_marked_reset_is_a_hung_command(
    on_device: Callable[..., Any], chip: str, cause: str, was_hung: bool
) -> None:
    (printed,) = on_device("watchdog.py", chip, cause)
    assert printed[0] is was_hung
    assert printed[3] == [chip == "esp32", cause == "hung" and chip == "bare"]


def test_it_starts_when_something_feeds_it(on_device: Callable[..., Any]) -> None:
    """Not before the model is loaded; long loops feed it from then on."""
    _, before, after, _ = on_device("watchdog.py", "bare", "power")[0]
    assert before == [0, 0]
    assert after == [1, 2]
