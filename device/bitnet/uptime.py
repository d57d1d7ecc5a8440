# Seconds since the start. time.time() is not on every port, and jumps when somebody sets the clock.

import asyncio
import time

from micropython import const

_LOOK_S = const(3600)  # often enough: ticks_ms() wraps around after days

_ticks = time.ticks_ms()
_milliseconds = 0


def seconds() -> int:
    global _ticks, _milliseconds  # noqa: PLW0603 (there is one clock)
    now = time.ticks_ms()
    _milliseconds += time.ticks_diff(now, _ticks)
    _ticks = now
    return _milliseconds // 1000


async def run() -> None:
    """Keeps the clock going while nobody asks."""
    while True:
        seconds()
        await asyncio.sleep(_LOOK_S)
