# Seconds since the start. time.time() is not on every port, and jumps when somebody sets the clock.

import time

from micropython import const

_WRAP = const(0x3FFFFFFF)  # of ticks_ms(), where it is shortest

_ticks = time.ticks_ms()
_milliseconds = 0


def seconds() -> int:
    """Too few if nobody has asked for twelve days: ticks_ms() wraps around."""
    global _ticks, _milliseconds  # noqa: PLW0603 (there is one clock)
    now = time.ticks_ms()
    # ticks_diff() takes what lies more than half a wrap ahead for the past.
    _milliseconds += (now - _ticks) & _WRAP
    _ticks = now
    return _milliseconds // 1000
