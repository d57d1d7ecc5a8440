# The hardware watchdog: fed while the unit gets on with its work, and not otherwise.

import asyncio

import machine
from micropython import const

# RP2040 and RP2350 keep the watchdog's scratch registers through its reset. The boot ROM uses the last four.
_SCRATCH = {"RP2040": 0x4005800C, "RP2350": 0x400D800C}
_BUSY = const(0x424E4259)
_FEEDS = const(4)  # per timeout
_MOST_MS = const(8388)  # RP2040's


class Watchdog:
    """Resets the unit if a command makes no progress for timeout_ms; 0, or a port without one: never.

    was_hung: the last reset came from a command that hung.
    """

    def __init__(self, timeout_ms: int) -> None:
        self._mark = _mark()
        self.was_hung = _was_reset() and (not self._mark or machine.mem32[self._mark] == _BUSY)
        self._timeout_ms = min(timeout_ms, _MOST_MS)
        self._is_busy = False
        self._has_progressed = False
        self._set_mark(0)
        has_one = timeout_ms and hasattr(machine, "WDT")
        self._wdt = machine.WDT(timeout=self._timeout_ms) if has_one else None

    def begin(self) -> None:
        """A command begins."""
        self._is_busy = True
        self._has_progressed = True
        self._set_mark(_BUSY)

    def end(self) -> None:
        self._is_busy = False
        self._set_mark(0)

    def progress(self) -> None:
        """A line has been answered, or a part of one."""
        self._has_progressed = True

    async def run(self) -> None:
        """Feed as long as there is nothing to do or something is being done."""
        while self._wdt is not None:
            if not self._is_busy or self._has_progressed:
                self._has_progressed = False
                self._wdt.feed()
            await asyncio.sleep_ms(self._timeout_ms // _FEEDS)

    def _set_mark(self, value: int) -> None:
        if self._mark:
            machine.mem32[self._mark] = value


def _was_reset() -> bool:
    return hasattr(machine, "WDT_RESET") and machine.reset_cause() == machine.WDT_RESET


def _mark() -> int:
    """The address of a word that survives a watchdog's reset, or 0."""
    import os  # noqa: PLC0415

    name = os.uname().machine if hasattr(os, "uname") else ""
    for chip, address in _SCRATCH.items():
        if chip in name:
            return address
    return 0
