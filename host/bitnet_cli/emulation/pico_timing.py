"""What firmware costs on an RP2040: the emulator's cycles, and those it waits for flash.

rp2040py takes all memory to be as fast as SRAM. This runs the chip one instruction at a time and charges each
access to flash that misses the cache of xip.py, for instructions and data alike, and copies from flash by
DMA at the same rate.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rp2040py.peripherals.dma import TREQ, RPDMAChannel
from rp2040py.peripherals.pio import RPPIO

from .pico import Pico
from .xip import CYCLES_PER_FLASH_BYTE, XipCache

EMULATED_HZ = 125_000_000
"""rp2040py's clock, whatever the firmware sets."""

_NANOS_PER_CYCLE = 1e9 / EMULATED_HZ
_LOOK_AROUND = 256  # instructions
_FLASH, _SRAM = 0x10, 0x20  # the first byte of an address
_FLASH_BASE, _FLASH_END = 0x10000000, 0x14000000  # with the addresses that go past the cache

# What an instruction reads from, by its first halfword.
_NOTHING, _LITERAL, _WORD, _HALFWORD, _BYTE, _INDEXED, _MULTIPLE = range(7)


def _reads(half: int) -> int:
    top = half >> 11
    named = {0b01001: _LITERAL, 0b01101: _WORD, 0b01111: _BYTE, 0b10001: _HALFWORD, 0b11001: _MULTIPLE}
    if half >> 12 == 0b0101 and (half >> 9 & 7) >= 3:
        return _INDEXED
    return named.get(top, _NOTHING)


def lasts_one_more(half: int) -> bool:
    """Tell whether rp2040py counts one cycle less for an instruction than the Cortex-M0+'s manual.

    The manual counts lr and pc among the registers that push and pop move.
    """
    return half >> 8 in (0xB5, 0xBD)


_READS = bytes(map(_reads, range(1 << 16)))
_ONE_MORE = bytes(map(lasts_one_more, range(1 << 16)))


@dataclass(frozen=True)
class Timing:
    """How long a stretch of execution takes."""

    cycles: int
    """The processor's cycles while it runs, including those it waits for flash."""
    flash_cycles: int
    """The cycles in which it waits for flash."""
    asleep_nanos: float
    """The time in which it waits for a timer or for something from outside."""

    def milliseconds(self, hertz: int) -> float:
        """Return the time at a frequency, with flash the same number of cycles away at each."""
        return self.cycles / hertz * 1e3 + self.asleep_nanos / 1e6


class TimedPico:
    """Runs a chip with flash as slow as on a board."""

    def __init__(self, pico: Pico) -> None:
        self._pico = pico
        self._cache = XipCache()
        self._line = -1  # of flash, from which instructions come one after the other
        self._registers = pico.chip.core.registers
        self._flash = memoryview(pico.flash).cast("H")
        self._sram = memoryview(pico.chip.sram).cast("H")
        for channel in pico.chip.dma.channels:
            _slow_down(channel)

    def run(self, is_done: Callable[[], bool]) -> Timing:
        """Run until `is_done()`, which is asked every few hundred instructions."""
        chip, clock, cache = self._pico.chip, self._pico.clock, self._cache
        core, registers = chip.core, self._registers
        missed_before = missed = cache.missed_bytes
        cycles, asleep, until_look = 0, 0.0, 0
        pios: list[RPPIO] = []
        while until_look or not is_done():
            if not until_look:
                self._pico.exchange()
                pios = [pio for pio in chip.pio if not pio.stopped]
                until_look = _LOOK_AROUND
            until_look -= 1
            if core.waiting:
                nanos = clock.nanos_to_next_alarm
                asleep += nanos
                passed = int(nanos / _NANOS_PER_CYCLE) or 1
            else:
                half = self._fetch(registers[15])
                passed = core.execute_instruction() + _ONE_MORE[half]
                passed += CYCLES_PER_FLASH_BYTE * (cache.missed_bytes - missed)
                missed = cache.missed_bytes
                cycles += passed
                nanos = passed * _NANOS_PER_CYCLE
            clock.tick(nanos)
            for pio in pios:
                pio.advance(passed)
        return Timing(cycles, CYCLES_PER_FLASH_BYTE * (missed - missed_before), asleep)

    def _fetch(self, pc: int) -> int:
        """Fetch the next instruction's first halfword; count what it and its data miss in the cache."""
        memory = pc >> 24
        if memory == _FLASH:
            if pc >> 3 != self._line:
                self._line = pc >> 3
                self._cache.read(pc)
            half: int = self._flash[(pc & 0xFFFFFF) >> 1]
        elif memory == _SRAM:
            half = self._sram[(pc & 0xFFFFF) >> 1]
        else:
            return 0  # the boot ROM
        if _READS[half]:
            self._read(half, pc)
        return half

    def _read(self, half: int, pc: int) -> None:
        """Read the data of an instruction through the cache, if it comes from flash."""
        registers, kind, size = self._registers, _READS[half], 4
        if kind == _LITERAL:
            address = (pc & ~3) + 4 + ((half & 255) << 2)
        elif kind == _WORD:
            address = registers[half >> 3 & 7] + (half >> 4 & 0x7C)
        elif kind == _BYTE:
            address = registers[half >> 3 & 7] + (half >> 6 & 31)
        elif kind == _HALFWORD:
            address = registers[half >> 3 & 7] + (half >> 5 & 0x3E)
        elif kind == _INDEXED:
            address = (registers[half >> 3 & 7] + registers[half >> 6 & 7]) & 0xFFFFFFFF
        else:
            address, size = registers[half >> 8 & 7], 4 * (half & 255).bit_count()
        if address >> 24 == _FLASH:
            for line in range(address >> 3, (address + size - 1 >> 3) + 1):
                self._cache.read(8 * line)
            self._line = -1  # it may have taken the place of the instructions


def _slow_down(channel: RPDMAChannel) -> None:
    """Let copies from flash take their time."""
    schedule, alarm = channel.schedule_transfer, channel.transfer_alarm

    def schedule_later() -> None:
        if _FLASH_BASE <= channel._read_addr < _FLASH_END and channel.treq == TREQ.PERMANENT:
            alarm.schedule(4 * CYCLES_PER_FLASH_BYTE * _NANOS_PER_CYCLE)
        else:
            schedule()

    channel.schedule_transfer = schedule_later
