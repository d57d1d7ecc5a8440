"""The core on rp2040py, an RP2040 that somebody else has written: the referee of our cycle model."""

import struct

from bitnet_cli.emulation.cores import Measured, Program
from bitnet_cli.emulation.pico_timing import lasts_one_more
from rp2040py.rp2040 import RP2040

_RAM, _RETURN, _CODE, _HEAP = 0x20000000, 0x20000100, 0x20000200, 0x20008000
_STACK = _RAM + 264 * 1024 - 64


class Rp2040Machine:
    """A machines.Machine. The code may lie in RAM, where native modules lie: it depends on no address."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.reset()

    def reset(self) -> None:
        self._rp2040 = RP2040()
        ((base, code),) = self._program.segments
        self._offset = _CODE - base
        self._write(_CODE, code)
        self._next = _HEAP

    def _write(self, address: int, data: bytes) -> None:
        assert address >= _RAM and address + len(data) < _STACK - 4096
        self._rp2040.sram[address - _RAM : address - _RAM + len(data)] = data

    def allocate(self, data: bytes) -> int:
        address = self._next
        self._write(address, data)
        self._next += (len(data) + 15) & ~15
        return address

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._rp2040.sram[address - _RAM : address - _RAM + size])

    def call(self, name: str, *arguments: int) -> int:
        return self.measure(name, *arguments).result

    def measure(self, name: str, *arguments: int) -> Measured:
        core = self._rp2040.core
        stacked = struct.pack(f"<{len(arguments[4:])}I", *arguments[4:])
        self._rp2040.sram[_STACK - _RAM : _STACK - _RAM + len(stacked)] = stacked
        for register, value in enumerate(arguments[:4]):
            core.registers[register] = value & 0xFFFFFFFF
        core.sp, core.lr = _STACK, _RETURN | 1
        core.pc = self._program.functions[name] + self._offset & ~1
        before, forgotten = core.cycles, 0
        while core.pc != _RETURN:
            forgotten += lasts_one_more(self._rp2040.read_uint16(core.pc))
            self._rp2040.step()
        result: int = core.registers[0]
        return Measured(result - (result >> 31 << 32), core.cycles - before + forgotten, {})
