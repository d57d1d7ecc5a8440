# Seconds since the start. time.time() is not on every port, and jumps when somebody sets the clock.

import time

from micropython import const

_WRAP = const(0x3FFFFFFF)  # the largest value of ticks_ms(), on the ports where it is smallest

_ticks = time.ticks_ms()
_milliseconds = 0


def seconds() -> int:
    """Return the seconds since the start; too few if nobody has asked for twelve days (_WRAP)."""
    global _ticks, _milliseconds  # noqa: PLW0603 (there is one clock)
    now = time.ticks_ms()
    # ticks_diff() takes what lies more than half a wrap ahead for the past.
    _milliseconds += (now - _ticks) & _WRAP
    _ticks = now
    return _milliseconds // 1000
