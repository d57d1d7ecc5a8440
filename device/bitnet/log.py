# What went wrong lately: the last entries, in RAM.

from micropython import const

from . import uptime

_ENTRIES = const(16)
_TEXT = const(80)


class Log:
    def __init__(self) -> None:
        self._entries: list = []

    def add(self, reason: str, text: str = "") -> None:
        if len(self._entries) == _ENTRIES:
            self._entries.pop(0)
        self._entries.append((uptime.seconds(), reason, text[:_TEXT]))

    def entries(self) -> list:
        """(seconds ago, reason, text), the oldest first."""
        now = uptime.seconds()
        return [(now - when, reason, text) for when, reason, text in self._entries]

    def clear(self) -> None:
        self._entries = []
