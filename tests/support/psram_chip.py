"""An APS6404L or LY68L6400 on an emulated RP2040's pins: 8 MB of PSRAM, in SPI and QPI mode.

Everything goes by the levels of the pins, at each edge of CE and SCK. What a chip would not forgive is in
`violations`; a driver that has none there keeps to the data sheet (APS6404L-3SQR, 2.3, and LY68L6400S).
"""

from collections.abc import Iterator

from rp2040py.gpio_pin import GPIOPinState
from rp2040py.rp2040 import RP2040

SIZE = 8 << 20
PAGE = 1024
MAX_CE_LOW_NS = 4000  # tCEM above 85 °C; below, twice as much
POWER_UP_NS = 150_000
ID = bytes([0x0D, 0x5D, 0x44, 0x01, 0x23, 0x45, 0x67, 0x89])  # maker, known good die, 64 Mbit and a number

_CYCLE_NS = 8  # of rp2040py, whatever the chip's clock is set to
_RESET_ENABLE, _RESET, _READ_ID, _ENTER_QPI, _EXIT_QPI = 0x66, 0x99, 0x9F, 0x35, 0xF5
_WRITE, _QUAD_WRITE, _READ, _FAST_READ, _QUAD_READ = 0x02, 0x38, 0x03, 0x0B, 0xEB
_KNOWN = {
    False: {_RESET_ENABLE, _RESET, _READ_ID, _ENTER_QPI, _WRITE, _QUAD_WRITE, _READ, _FAST_READ, _QUAD_READ},
    True: {_RESET_ENABLE, _RESET, _EXIT_QPI, _WRITE, _QUAD_WRITE, _FAST_READ, _QUAD_READ},
}
_QUAD_BEHIND_COMMAND = {_QUAD_WRITE, _QUAD_READ}
_WAIT_CLOCKS = {  # by mode
    False: {_READ_ID: 0, _READ: 0, _FAST_READ: 8, _QUAD_READ: 6},
    True: {_FAST_READ: 4, _QUAD_READ: 6},
}
_DRIVEN = (GPIOPinState.LOW, GPIOPinState.HIGH)
_BITS = [tuple(bool(nibble >> i & 1) for i in range(4)) for nibble in range(16)]

_COMMAND, _ADDRESS, _WAIT, _DATA_IN, _DATA_OUT, _IGNORE = range(6)


class PsramChip:
    """A pico.Device. stuck: {address: (mask, value)} of cells whose bits in mask always read as in value."""

    def __init__(self, cs: int, sck: int, data: int, stuck: dict[int, tuple[int, int]] | None = None) -> None:
        self.memory = bytearray(SIZE)
        self.violations: list[str] = []
        self.bursts = 0
        """Reads so far."""
        self.selected_ns = 0
        """CE low so far."""
        self._pin_numbers = cs, sck, data
        self._stuck = stuck or {}
        self._is_selected = self._is_quad = self._is_reset = False
        self._phase, self._command, self._previous = _IGNORE, 0, 0
        self._value = self._count = self._address = self._selected_at = 0
        self._nibbles: Iterator[int] = iter(())

    def attach(self, rp2040: RP2040) -> None:
        self._rp2040 = rp2040
        cs, sck, data = self._pin_numbers
        self._data = rp2040.gpio[data : data + 4]
        rp2040.gpio[cs].add_listener(self._on_cs)
        rp2040.gpio[sck].add_listener(self._on_clock)
        for pin in self._data:
            pin.add_listener(self._on_data)

    def _violate(self, what: str) -> None:
        self.violations.append(f"{what} (command {self._command:#04x}, address {self._address:#x})")

    def _now(self) -> int:
        """In ns: by PIO, which counts every cycle, while the emulator's clock moves in steps."""
        return (self._rp2040.pio[1].cycle_fp >> 8) * _CYCLE_NS

    # --- edges ---

    def _on_cs(self, level: GPIOPinState, _before: GPIOPinState) -> None:
        if level is GPIOPinState.LOW:
            self._select()
        elif self._is_selected:
            self._deselect()

    def _select(self) -> None:
        if self._rp2040.clock.nanos < POWER_UP_NS:
            self._violate("selected while the chip is powering up")
        self._is_selected = True
        self._selected_at = self._now()
        self._begin(_COMMAND)
        self._command = self._address = 0

    def _deselect(self) -> None:
        self._is_selected = False
        selected_ns = self._now() - self._selected_at
        self.selected_ns += selected_ns
        if selected_ns > MAX_CE_LOW_NS:
            self._violate(f"CE low for {selected_ns} ns")
        if self._phase is _DATA_OUT:
            for pin in self._data:
                pin.release_input()
        elif self._phase is _DATA_IN and self._count:
            self._violate("a byte that is not whole")
        if self._phase is not _COMMAND:  # which is what a few clocks without a whole command are
            self._finish_command()
        self._phase = _IGNORE

    def _on_clock(self, level: GPIOPinState, _before: GPIOPinState) -> None:
        if not self._is_selected:
            return
        if level is GPIOPinState.HIGH:
            if self._phase < _DATA_OUT:
                self._take()
        elif self._phase is _DATA_OUT:
            self._put(next(self._nibbles))

    def _on_data(self, level: GPIOPinState, _before: GPIOPinState) -> None:
        if self._phase is _DATA_OUT and level in _DRIVEN:
            self._check_contention()

    # --- in ---

    def _is_wide(self) -> bool:
        """Whether four bits come or go at a clock."""
        return self._is_quad or (self._phase is not _COMMAND and self._command in _QUAD_BEHIND_COMMAND)

    def _take(self) -> None:
        if self._phase is _WAIT:
            self._count -= 1
            if self._count == 0:
                self._begin_output()
            return
        wide = self._is_wide()
        pins = self._data if wide else self._data[:1]
        if not all(pin.output_enable for pin in pins):
            self._violate("an input floats")
        self._value = self._value << len(pins) | sum(pin.output_value << i for i, pin in enumerate(pins))
        self._count += len(pins)
        if self._phase is _COMMAND and self._count == 8:
            self._begin_command(self._value)
        elif self._phase is _ADDRESS and self._count == 24:
            self._address = self._value & SIZE - 1
            self._begin_data()
        elif self._phase is _DATA_IN and self._count == 8:
            self.memory[self._address] = self._value
            self._address = _next(self._address)
            self._begin(_DATA_IN)

    def _begin(self, phase: int) -> None:
        self._phase, self._value, self._count = phase, 0, 0

    def _begin_command(self, command: int) -> None:
        self._command = command
        if command not in _KNOWN[self._is_quad]:
            self._violate("unknown command")
            self._begin(_IGNORE)
        elif command in (_RESET_ENABLE, _RESET, _ENTER_QPI, _EXIT_QPI):
            self._begin(_IGNORE)
        else:
            if not self._is_reset:
                self._violate("not reset since power-up")
            self._begin(_ADDRESS)

    def _begin_data(self) -> None:
        if self._command in (_WRITE, _QUAD_WRITE):
            self._begin(_DATA_IN)
            return
        self._begin(_WAIT)
        self._count = _WAIT_CLOCKS[self._is_quad][self._command]
        if self._count == 0:
            self._begin_output()

    def _finish_command(self) -> None:
        if self._command == _RESET:
            if self._previous != _RESET_ENABLE:
                self._violate("reset that was not enabled")
            self._is_reset, self._is_quad = True, False
        elif self._command in (_ENTER_QPI, _EXIT_QPI):
            self._is_quad = self._command == _ENTER_QPI
        self._previous = self._command

    # --- out ---

    def _begin_output(self) -> None:
        wide = self._is_wide()
        self._phase = _DATA_OUT
        self.bursts += self._command != _READ_ID
        data = iter(ID) if self._command == _READ_ID else self._read()
        self._nibbles = _in_nibbles(data) if wide else _in_bits(data)
        self._check_contention()
        for pin in self._data if wide else self._data[1:2]:
            pin.set_input_value(False)

    def _check_contention(self) -> None:
        pins = self._data if self._is_wide() else self._data[1:2]
        if any(pin.output_enable for pin in pins):
            self._violate("both sides drive the data pins")

    def _read(self) -> Iterator[int]:
        while True:
            mask, value = self._stuck.get(self._address, (0, 0))
            yield self.memory[self._address] & ~mask | value & mask
            self._address = _next(self._address)

    def _put(self, nibble: int) -> None:
        # As set_input_value does, but for interrupts at each edge, which nobody has asked for.
        first, second, third, fourth = self._data
        (
            first._raw_input_value,
            second._raw_input_value,
            third._raw_input_value,
            fourth._raw_input_value,
        ) = _BITS[nibble]


def _next(address: int) -> int:
    return address & -PAGE | address + 1 & PAGE - 1


def _in_nibbles(data: Iterator[int]) -> Iterator[int]:
    for byte in data:
        yield byte >> 4
        yield byte & 15


def _in_bits(data: Iterator[int]) -> Iterator[int]:
    """On the second pin."""
    for byte in data:
        for i in range(7, -1, -1):
            yield (byte >> i & 1) << 1
    while True:
        yield 0
