# The hardware watchdog: fed while the unit gets on with its work, and not otherwise.

import asyncio

import machine
from micropython import const

# RP2040 and RP2350 keep the watchdog's scratch registers through its reset. The boot ROM uses the last four.
_SCRATCH = {"RP2040": 0x4005800C, "RP2350": 0x400D800C}
_BUSY = const(0x424E4259)
_BUSY_BYTES = b"YBNB"  # the same, for the memory of an ESP32's RTC, which survives the reset as well
_FEEDS = const(4)  # per timeout
_MOST_MS = const(8388)  # RP2040's

_wdt = None  # the chip's, once it runs


def feed() -> None:
    """Feed the watchdog, in long loops that are known to end and in which nothing else can run."""
    if _wdt is not None:
        _wdt.feed()


class Watchdog:
    """Resets the unit if a command makes no progress for timeout_ms; never if that is 0, or without hardware.

    was_hung: whether the last reset came from a command that hung; False where nothing survives a reset.
    """

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = min(timeout_ms, _MOST_MS) if hasattr(machine, "WDT") else 0
        # Without a watchdog nothing is marked, because the RTC's memory may be in use for something else.
        self._scratch = _find_scratch() if self._timeout_ms else 0
        self._rtc = _find_rtc() if self._timeout_ms and not self._scratch else None
        self.was_hung = _was_reset() and self._is_marked()
        self._is_busy = False
        self._has_progressed = False
        self._mark(False)

    def begin(self) -> None:
        """Note that a command begins."""
        self._is_busy = True
        self._has_progressed = True
        self._mark(True)

    def end(self) -> None:
        """Note that the command has ended."""
        self._is_busy = False
        self._mark(False)

    def progress(self) -> None:
        """Note that the command has got on."""
        self._has_progressed = True

    async def run(self) -> None:
        """Start the watchdog, and feed it as long as no command runs or the one that runs gets on.

        It is not started before, because nothing would feed it while a large model loads.
        """
        global _wdt  # noqa: PLW0603 (there is one watchdog)
        if not self._timeout_ms:
            return
        _wdt = machine.WDT(timeout=self._timeout_ms)
        while True:
            if not self._is_busy or self._has_progressed:
                self._has_progressed = False
                feed()
            await asyncio.sleep_ms(self._timeout_ms // _FEEDS)

    def _is_marked(self) -> bool:
        if self._scratch:
            return machine.mem32[self._scratch] == _BUSY
        return self._rtc is not None and self._rtc.memory() == _BUSY_BYTES

    def _mark(self, is_busy: bool) -> None:
        if self._scratch:
            machine.mem32[self._scratch] = _BUSY if is_busy else 0
        elif self._rtc is not None:
            self._rtc.memory(_BUSY_BYTES if is_busy else b"")


def _was_reset() -> bool:
    return hasattr(machine, "WDT_RESET") and machine.reset_cause() == machine.WDT_RESET


def _find_scratch() -> int:
    """Return the address of a word that survives a watchdog's reset, or 0."""
    import os  # noqa: PLC0415

    name = os.uname().machine if hasattr(os, "uname") else ""
    for chip, address in _SCRATCH.items():
        if chip in name:
            return address
    return 0


def _find_rtc():
    """Return the RTC if it has memory, else None."""
    rtc = machine.RTC() if hasattr(machine, "RTC") else None
    return rtc if hasattr(rtc, "memory") else None
