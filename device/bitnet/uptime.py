# Seconds since the start. time.time() is not on every port, and jumps when somebody sets the clock.

import time

_ticks = time.ticks_ms()
_milliseconds = 0


def seconds() -> int:
    """Too few if nobody has asked for six days: ticks_ms() wraps around."""
    global _ticks, _milliseconds  # noqa: PLW0603 (there is one clock)
    now = time.ticks_ms()
    _milliseconds += time.ticks_diff(now, _ticks)
    _ticks = now
    return _milliseconds // 1000
