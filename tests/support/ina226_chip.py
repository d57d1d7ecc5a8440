"""An INA226 on an emulated RP2040's I2C, by its data sheet (Texas Instruments, SBOS547B), and its ALERT pin.

Registers hold what it computes, bit for bit, after the time it takes. `violations` has what a driver must not
do; `written` every register that was written.
"""

from collections.abc import Callable

from rp2040py.peripherals.i2c import R_TX_EMPTY, I2CMode
from rp2040py.rp2040 import RP2040
from support.pico_clocks import PicoClocks

CONFIGURATION, SHUNT, BUS, POWER, CURRENT, CALIBRATION, MASK_ENABLE, ALERT_LIMIT = range(8)
MANUFACTURER, DIE = 0xFE, 0xFF

_POWER_UP = 0x4127
_WRITABLE = (CONFIGURATION, CALIBRATION, MASK_ENABLE, ALERT_LIMIT)
_FUNCTIONS = 0xFC00
_LATCH, _OVERFLOW, _READY, _ALERTED = 0x0001, 0x0004, 0x0008, 0x0010
_AVERAGES = (1, 4, 16, 64, 128, 256, 512, 1024)
_CONVERSION_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)
_SCL_MAX_HZ = 400_000
_BITS_PER_BYTE = 9  # with its acknowledgement

Load = Callable[[int], tuple[int, int]]
"""Nanoseconds since power-up to microvolts of the bus and microamperes through the shunt."""


class Ina226Chip:
    """A pico.Device: at an address of I2C `bus`. load: what it supplies, which can be exchanged."""

    def __init__(
        self, clocks: PicoClocks, bus: int, address: int = 0x40, shunt_milliohms: int = 100, alert: int = 22
    ) -> None:
        self.load: Load = lambda _: (0, 0)
        self.is_present = True
        self.identity = 0x5449, 0x2260
        """Of the manufacturer and the die, the latter with its revision."""
        self.written: list[tuple[int, int]] = []
        self.violations: list[str] = []
        self.scl_hz: set[int] = set()
        """At which it was spoken to."""
        self._clocks, self._bus, self._address, self._shunt = clocks, bus, address, shunt_milliohms
        self._alert_number = alert
        self._registers: dict[int, int] = {}
        self._pointer = 0
        self._bytes: list[int] = []
        self._is_writing = False
        self._pending: Callable[[], None]

    def attach(self, rp2040: RP2040) -> None:
        self._clock = rp2040.clock
        self._i2c = rp2040.i2c[self._bus]
        self._alert = rp2040.gpio[self._alert_number]
        self._wire = rp2040.clock.create_alarm(self._on_wire)
        self._result = rp2040.clock.create_alarm(self._convert)
        self._i2c.on_start = lambda _: self._later(1, self._i2c.complete_start)
        self._i2c.on_connect = self._on_connect
        self._i2c.on_write_byte = self._on_write_byte
        self._i2c.on_read_byte = self._on_read_byte
        self._i2c.on_stop = self._on_stop
        self._reset()

    # --- the wire ---

    def _on_wire(self) -> None:
        self._pending()

    def _later(self, bits: int, action: Callable[[], None]) -> None:
        """When so many bits have gone over the wire."""
        self._pending = action
        self._wire.schedule(bits * 1e9 / self._clocks.scl_hz(self._bus))

    def _on_connect(self, address: int, mode: I2CMode) -> None:
        is_mine = self.is_present and address == self._address
        if is_mine:
            hertz = self._clocks.scl_hz(self._bus)
            self.scl_hz.add(hertz)
            if hertz > _SCL_MAX_HZ:
                self.violations.append(f"SCL at {hertz} Hz")
            self._is_writing = mode == I2CMode.WRITE
            self._bytes = [] if self._is_writing else list(self._read(self._pointer).to_bytes(2, "big"))
        self._later(_BITS_PER_BYTE, self._accept if is_mine else self._refuse)

    def _accept(self) -> None:
        self._i2c.complete_connect(True)

    def _refuse(self) -> None:
        self._i2c.complete_connect(False)
        self._i2c._set_interrupts(R_TX_EMPTY)  # as a FIFO that was flushed is; the emulator forgets it

    def _on_write_byte(self, value: int) -> None:
        self._bytes.append(value)
        if len(self._bytes) == 1:
            self._pointer = value
        elif len(self._bytes) == 3:
            self._write(self._pointer, int.from_bytes(self._bytes[1:], "big"))
        elif len(self._bytes) > 3:
            self.violations.append("more than a register is written")
        self._later(_BITS_PER_BYTE, lambda: self._i2c.complete_write(True))

    def _on_read_byte(self, _acknowledge: bool) -> None:
        value = self._bytes.pop(0) if self._bytes else 0xFF
        self._later(_BITS_PER_BYTE, lambda: self._i2c.complete_read(value))

    def _on_stop(self) -> None:
        if self._is_writing and len(self._bytes) == 2:
            self.violations.append("half a register is written")
        self._is_writing = False
        self._later(1, self._i2c.complete_stop)

    # --- registers ---

    def _reset(self) -> None:
        self._registers = dict.fromkeys(range(8), 0) | {CONFIGURATION: _POWER_UP}
        self._begin()
        self._set_alert(False)

    def _read(self, register: int) -> int:
        if register in (MANUFACTURER, DIE):
            return self.identity[register - MANUFACTURER]
        if register not in self._registers:
            self.violations.append(f"register {register:#x} is read")
            return 0
        value = self._registers[register]
        if register == MASK_ENABLE:
            self._registers[MASK_ENABLE] &= ~_READY
            if value & _LATCH:
                self._registers[MASK_ENABLE] &= ~_ALERTED
                self._set_alert(False)
        return value

    def _write(self, register: int, value: int) -> None:
        self.written.append((register, value))
        if register not in _WRITABLE:
            self.violations.append(f"register {register:#x} is written")
        elif register == CONFIGURATION and value & 0x8000:
            self._reset()
        elif register == CONFIGURATION:
            self._registers[register] = value & 0x0FFF | 0x4000
            self._registers[MASK_ENABLE] &= ~_READY
            self._begin()
        elif register == MASK_ENABLE:
            self._registers[register] = value & (_FUNCTIONS | 0x0003)
            self._set_alert(False)
        else:
            self._registers[register] = value & (0x7FFF if register == CALIBRATION else 0xFFFF)

    # --- measuring ---

    def _begin(self) -> None:
        self._began = self._clock.nanos
        configuration = self._registers[CONFIGURATION]
        if configuration & 0b111 != 0b111:
            self.violations.append(f"mode {configuration & 0b111}")
        self._averages = _AVERAGES[configuration >> 9 & 7]
        bus, shunt = (_CONVERSION_US[configuration >> shift & 7] for shift in (6, 3))
        self._pair_nanos = (bus + shunt) * 1000
        self._result.schedule(self._averages * self._pair_nanos)

    def _convert(self) -> None:
        """The end of an average: all results change, the alert with them."""
        times = [self._began + int((i + 0.5) * self._pair_nanos) for i in range(self._averages)]
        loads = [self.load(int(nanos)) for nanos in times]
        bus = sum(microvolts for microvolts, _ in loads) // self._averages // 1250
        shunt = sum(microamperes for _, microamperes in loads) * self._shunt // self._averages // 2500
        shunt = max(-0x8000, min(0x7FFF, shunt))
        current = shunt * self._registers[CALIBRATION] // 2048
        power = abs(current) * bus // 20000
        overflows = not -0x8000 <= current <= 0x7FFF or power > 0xFFFF
        self._registers |= {
            SHUNT: shunt & 0xFFFF,
            BUS: bus & 0x7FFF,
            CURRENT: current & 0xFFFF,
            POWER: power & 0xFFFF,
        }
        mask = self._registers[MASK_ENABLE] & ~_OVERFLOW | _READY | (_OVERFLOW if overflows else 0)
        self._registers[MASK_ENABLE] = mask
        if self._is_beyond(shunt, bus, power):
            self._registers[MASK_ENABLE] |= _ALERTED
            self._set_alert(True)
        elif not mask & _LATCH:
            self._registers[MASK_ENABLE] &= ~_ALERTED
            self._set_alert(False)
        self._began = self._clock.nanos
        self._result.schedule(self._averages * self._pair_nanos)

    def _is_beyond(self, shunt: int, bus: int, power: int) -> bool:
        """The function of the highest bit counts."""
        mask, limit = self._registers[MASK_ENABLE], self._registers[ALERT_LIMIT]
        signed = limit - (limit >> 15 << 16)
        tests = (
            (0x8000, shunt > signed),
            (0x4000, shunt < signed),
            (0x2000, bus > limit),
            (0x1000, bus < limit),
            (0x0800, power > limit),
        )
        return next((is_beyond for bit, is_beyond in tests if mask & bit), False)

    def _set_alert(self, is_beyond: bool) -> None:
        self._alert.set_input_value(not is_beyond)
