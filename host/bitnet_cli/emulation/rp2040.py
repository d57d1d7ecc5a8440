"""What a bench of weights in flash or PSRAM needs of an RP2040.

XIP flash behind its cache, DMA, and a state machine with the reading program of device/bitnet/psram/chip.py.
Times are the model of xip.py; DMA past the cache runs at the same rate beside the processor. Memory that both
use at once is not charged for.
"""

import unicorn

from ..model.modelfile import PSRAM_BURST
from .cores import CortexM0PlusCycles, Emulator, Measured, Processor, Program
from .xip import CYCLES_PER_FLASH_BYTE, XipCache

FLASH, _FLASH_UNCACHED, _FLASH_SIZE = 0x10000000, 0x13000000, 4 << 20

_DMA, _DMA_SIZE = 0x50000000, 0x1000
_READ_ADDRESS, _WRITE_ADDRESS, _COUNT, _CONTROL = 0, 4, 8, 12
_BUSY, _SWAP_BYTES = 1 << 24, 1 << 22
_PIO, _PIO_SIZE = (0x50200000, 0x50300000), 0x1000
_SENT, _RECEIVED = 0x10, 0x20  # queues of a state machine

CYCLES_PER_BURST = 168
"""Cycles that the reading program takes for PSRAM_BURST bytes."""


class Rp2040(Emulator):
    """A Cortex-M0+ with 4 MB of flash and DMA; measure() counts cycles, with those it waits for flash."""

    def __init__(self, processor: Processor, program: Program) -> None:
        super().__init__(processor, program, CortexM0PlusCycles())

    def reset(self) -> None:
        super().reset()
        for base in (FLASH, _FLASH_UNCACHED):
            self.uc.mem_map(base, _FLASH_SIZE, unicorn.UC_PROT_READ)
        self.uc.mmio_map(_DMA, _DMA_SIZE, self._read_dma, None, self._write_dma, None)
        for base in _PIO:
            self.uc.mmio_map(base, _PIO_SIZE, None, None, self._write_pio, None)
        self.psram = b""
        self.bursts = 0
        self._next_burst = self._asked = 0
        self._next_flash = FLASH
        self._cache = XipCache()
        self._dma_registers: dict[int, int] = {}
        self._is_timed = False
        self._dma_done = 0
        self._on_its_way: tuple[bytes, int] | None = None
        self.dma_bytes = 0

    @property
    def missed_bytes(self) -> int:
        """Bytes that measured calls have fetched into the cache."""
        return self._cache.missed_bytes

    def flash(self, data: bytes) -> int:
        """Copy data into flash; return its address."""
        address = self._next_flash
        for alias in (0, _FLASH_UNCACHED - FLASH):
            self.uc.mem_write(address + alias, data)
        self._next_flash += (len(data) + 15) & ~15
        return address

    def measure(self, name: str, *arguments: int) -> Measured:
        self._is_timed, self._dma_done = True, 0
        try:
            return super().measure(name, *arguments)
        finally:
            self._is_timed = False

    def _begin_measuring(self) -> list[int]:
        end = FLASH + _FLASH_SIZE - 1
        hook = self.uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._read_flash, None, FLASH, end)
        return [*super()._begin_measuring(), hook]

    def _read_flash(
        self, _uc: unicorn.Uc, _kind: int, address: int, _size: int, _value: int, _data: object
    ) -> None:
        before = self._cache.missed_bytes
        self._cache.read(address)
        self.wait(CYCLES_PER_FLASH_BYTE * (self._cache.missed_bytes - before))

    # What DMA copies arrives when somebody sees that it is done, and not before: code that does not wait
    # reads something else.
    def _read_dma(self, _uc: unicorn.Uc, offset: int, _size: int, _data: object) -> int:
        value = self._dma_registers.get(offset, 0)
        # Where nothing counts cycles, no time passes.
        if offset % 64 != _CONTROL:
            return value
        if self._is_timed and self.cost < self._dma_done:
            return value | _BUSY
        if self._on_its_way:
            data, target = self._on_its_way
            self.uc.mem_write(target, data)
            self._on_its_way = None
        return value

    def _write_dma(self, _uc: unicorn.Uc, offset: int, _size: int, value: int, _data: object) -> None:
        self._dma_registers[offset] = value
        if offset % 64 == _CONTROL:
            self._begin_copy(offset - _CONTROL)

    def _begin_copy(self, channel: int) -> None:
        source, target, words = (
            self._dma_registers[channel + register] for register in (_READ_ADDRESS, _WRITE_ADDRESS, _COUNT)
        )
        if _is_pio(target):
            assert self.uc.mem_read(source, 4) == bytes(4), "a burst is asked for with a zero"
            self._asked = words
            return
        assert self._on_its_way is None, "one copy at a time"
        if _is_pio(source):
            assert self._dma_registers[channel + _CONTROL] & _SWAP_BYTES, "PSRAM sends the first byte first"
            self._on_its_way = self._read_psram(4 * words), target
            self._dma_done = self.cost + CYCLES_PER_BURST * self._asked
        else:
            self._on_its_way = bytes(self.uc.mem_read(source, 4 * words)), target
            self._dma_done = self.cost + CYCLES_PER_FLASH_BYTE * 4 * words
            self.dma_bytes += 4 * words

    def _write_pio(self, _uc: unicorn.Uc, offset: int, _size: int, value: int, _data: object) -> None:
        assert _SENT <= offset < _RECEIVED
        self._next_burst = ~value & 0xFFFFFFFF

    def _read_psram(self, size: int) -> bytes:
        assert size == PSRAM_BURST * self._asked, "as much is asked for as is taken"
        start = PSRAM_BURST * self._next_burst
        self._next_burst += self._asked
        self.bursts += self._asked
        return self.psram[start : start + size].ljust(size, b"\xff")


def _is_pio(address: int) -> bool:
    return any(base <= address < base + _PIO_SIZE for base in _PIO)
