"""Flash of an RP2040 behind its cache, as a model of time.

A miss of the cache fetches a line of 8 bytes (RP2040 datasheet 2.6.3) and costs 10 cycles a byte, as others
have measured on boards at 133 MHz.
"""

CYCLES_PER_FLASH_BYTE = 10
_CACHE_LINE, _CACHE_WAYS, _CACHE_SETS = 8, 2, 1024


class XipCache:
    """The cache in front of flash: 16 KB in two ways; the least recently used line is replaced."""

    def __init__(self) -> None:
        self._sets: list[list[int]] = [[] for _ in range(_CACHE_SETS)]
        self.missed_bytes = 0

    def read(self, address: int) -> None:
        """Count an access, which does not cross a line."""
        line = address // _CACHE_LINE
        ways = self._sets[line % _CACHE_SETS]
        if line in ways:
            ways.remove(line)
        else:
            self.missed_bytes += _CACHE_LINE
            del ways[: len(ways) + 1 - _CACHE_WAYS]
        ways.append(line)
