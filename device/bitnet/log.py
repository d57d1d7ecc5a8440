# What went wrong lately: the last entries, in RAM.

from micropython import const

from . import uptime

_ENTRIES = const(16)
_TEXT = const(80)


class Log:
    """Keeps the last entries; each has a reason and a text."""

    def __init__(self) -> None:
        self._entries: list = []

    def add(self, reason: str, text: str = "") -> None:
        """Add an entry; if there are too many, the oldest goes. A long text is cut."""
        if len(self._entries) == _ENTRIES:
            self._entries.pop(0)
        self._entries.append((uptime.seconds(), reason, text[:_TEXT]))

    def entries(self) -> list:
        """Return (seconds ago, reason, text) of each entry, the oldest first."""
        now = uptime.seconds()
        return [(now - when, reason, text) for when, reason, text in self._entries]

    def clear(self) -> None:
        """Forget all entries."""
        self._entries = []
