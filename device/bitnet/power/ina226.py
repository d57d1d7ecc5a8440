# The INA226, a sensor on I2C for voltage, current and power of what is supplied through it. Its data sheet is
# Texas Instruments' SBOS547. All is computed in integers. Registers have 16 bits, the high byte first.

import struct

from micropython import const

_CONFIGURATION = const(0x00)
_SHUNT_VOLTAGE = const(0x01)
_BUS_VOLTAGE = const(0x02)
_POWER = const(0x03)
_CURRENT = const(0x04)
_CALIBRATION = const(0x05)
_MASK_ENABLE = const(0x06)
_ALERT_LIMIT = const(0x07)
_MANUFACTURER = const(0xFE)
_DIE = const(0xFF)

_TEXAS_INSTRUMENTS = const(0x5449)
_DIE_ID = const(0x226)  # above four bits of revision

_RESET = const(0xC000)  # with bit 14, which reads as 1, as it is after power-up
_ALWAYS_1 = const(0x4000)
_CONTINUOUS = const(0b111)  # shunt and bus voltage, one after the other

AVERAGES = (1, 4, 16, 64, 128, 256, 512, 1024)
CONVERSION_US = (140, 204, 332, 588, 1100, 2116, 4156, 8244)  # typical values; a tenth more at most

_FULL_SCALE_UV = const(81920)  # of the shunt's voltage
_CURRENT_STEPS = const(32768)
_CALIBRATION_FACTOR = const(5120000)  # the data sheet's 0.00512, for uA and milliohms
_CALIBRATION_MAX = const(0x7FFF)
_SHUNT_STEP_NV = const(2500)
_BUS_STEP_UV = const(1250)
_POWER_STEPS = const(25)  # a step of power is as many steps of the current

# What alert() can watch: bits of the register Mask/Enable.
OVER_CURRENT = const(0x8000)
UNDER_CURRENT = const(0x4000)
OVER_VOLTAGE = const(0x2000)
UNDER_VOLTAGE = const(0x1000)
OVER_POWER = const(0x0800)
# The flags that flags() returns.
ALERTED = const(0x10)
READY = const(0x08)
OVERFLOW = const(0x04)
_LATCH = const(0x01)


class Ina226Error(Exception):
    """There is no INA226, or it cannot measure what is asked for; the text says why."""


class Ina226:
    """A sensor on a machine.I2C. It is reset, and measures all the time.

    shunt_milliohms: its resistor. max_milliamperes: the most that will flow; the smaller it is, the finer are
    current and power. 0: the most that the sensor can measure, which is 81.92 mV at the resistor.
    current_step: a step of the current, in uA.

    Raises Ina226Error if there is no sensor or the values do not go together. All methods raise I2C's OSError
    if the sensor does not answer.
    """

    def __init__(
        self, i2c, address: int = 0x40, shunt_milliohms: int = 100, max_milliamperes: int = 0
    ) -> None:
        self._i2c = i2c
        self._address = address
        self._two = bytearray(2)
        self._shunt = shunt_milliohms
        self.current_step, calibration = _calibrate(shunt_milliohms, max_milliamperes)
        self._check_identity()
        self._write(_CONFIGURATION, _RESET)
        self._write(_CALIBRATION, calibration)
        self.configure()

    def configure(self, averages: int = 1, bus_us: int = 1100, shunt_us: int = 1100) -> None:
        """Begin to measure anew. A result takes averages × (bus_us + shunt_us).

        averages: one of AVERAGES. The others: one of CONVERSION_US. Raises ValueError for other values.
        """
        for value, known in ((averages, AVERAGES), (bus_us, CONVERSION_US), (shunt_us, CONVERSION_US)):
            if value not in known:
                raise ValueError(f"{value} is none of {known}")
        self._configuration = (
            _ALWAYS_1
            | AVERAGES.index(averages) << 9
            | CONVERSION_US.index(bus_us) << 6
            | CONVERSION_US.index(shunt_us) << 3
            | _CONTINUOUS
        )
        self._result_us = averages * (bus_us + shunt_us) * 11 // 10  # at most
        self._write(_CONFIGURATION, self._configuration)

    def average_over(self, microseconds: int) -> int:
        """Begin an average over at least half of this time; return after how many us its result is there.

        That is longer than this time if this time is below 308 us.
        """
        if self._result_us <= microseconds < 2 * self._result_us:
            self._write(_CONFIGURATION, self._configuration)  # writing it begins the average anew
        else:
            averages, conversion = _longest(microseconds * 10 // 22)
            self.configure(averages, conversion, conversion)
        return self._result_us

    # --- the last result ---

    def bus_microvolts(self) -> int:
        """Return the voltage of what is supplied, in uV."""
        return self._read(_BUS_VOLTAGE) * _BUS_STEP_UV

    def shunt_nanovolts(self) -> int:
        """Return the voltage at the resistor, in nV."""
        return _signed(self._read(_SHUNT_VOLTAGE)) * _SHUNT_STEP_NV

    def current_microamperes(self) -> int:
        """Return the current in uA."""
        return _signed(self._read(_CURRENT)) * self.current_step

    def power_microwatts(self) -> int:
        """Return the power in uW."""
        return self._read(_POWER) * _POWER_STEPS * self.current_step

    # --- alerts ---

    def alert(self, function: int, limit: int, latch: bool = False) -> None:
        """Pull the pin ALERT low beyond a limit.

        function: OVER_CURRENT, UNDER_CURRENT (the limit is in uA), OVER_VOLTAGE, UNDER_VOLTAGE (uV) or
        OVER_POWER (uW). The pin stays low until flags() is called, with latch; else until a result is within
        the limit. Raises ValueError if a register cannot hold the limit.
        """
        if function in (OVER_CURRENT, UNDER_CURRENT):
            steps = limit * self._shunt // _SHUNT_STEP_NV
            fits = -0x8000 <= steps <= 0x7FFF
        else:
            step = _POWER_STEPS * self.current_step if function == OVER_POWER else _BUS_STEP_UV
            steps = limit // step
            fits = 0 <= steps <= 0xFFFF
        if not fits:
            raise ValueError(f"a limit of {limit} is more than can be measured")
        self._write(_ALERT_LIMIT, steps & 0xFFFF)
        self._write(_MASK_ENABLE, function | (_LATCH if latch else 0))

    def alert_off(self) -> None:
        """Watch no limit any more."""
        self._write(_MASK_ENABLE, 0)

    def flags(self) -> int:
        """Return the bits ALERTED, READY (a result has come since) and OVERFLOW; clear the first two."""
        return self._read(_MASK_ENABLE) & (ALERTED | READY | OVERFLOW)

    # --- registers ---

    def _check_identity(self) -> None:
        try:
            manufacturer, die = self._read(_MANUFACTURER), self._read(_DIE)
        except OSError:
            raise Ina226Error(f"no INA226 at {self._address:#04x}: nothing answers there") from None
        if manufacturer != _TEXAS_INSTRUMENTS or die >> 4 != _DIE_ID:
            raise Ina226Error(f"no INA226 at {self._address:#04x}: the IDs read {manufacturer:#x}, {die:#x}")

    def _read(self, register: int) -> int:
        self._i2c.readfrom_mem_into(self._address, register, self._two)
        return self._two[0] << 8 | self._two[1]

    def _write(self, register: int, value: int) -> None:
        struct.pack_into(">H", self._two, 0, value)
        self._i2c.writeto_mem(self._address, register, self._two)


def _calibrate(shunt_milliohms: int, max_milliamperes: int) -> tuple:
    """Return the step of the current in uA, and what the calibration register must be for it."""
    if shunt_milliohms <= 0 or not 0 <= max_milliamperes * shunt_milliohms <= _FULL_SCALE_UV:
        raise Ina226Error(
            f"{max_milliamperes} mA through {shunt_milliohms} milliohms: the sensor measures up to 81.92 mV"
        )
    most = 1000 * max_milliamperes or 1000 * _FULL_SCALE_UV // shunt_milliohms
    step = max(_up(most, _CURRENT_STEPS), _up(_CALIBRATION_FACTOR, _CALIBRATION_MAX * shunt_milliohms))
    return step, (_CALIBRATION_FACTOR + step * shunt_milliohms // 2) // (step * shunt_milliohms)


def _longest(microseconds: int) -> tuple:
    """Return averages and conversion time with the longest up to this, or the shortest of all."""
    best, averages, conversion = 0, AVERAGES[0], CONVERSION_US[0]
    for a in AVERAGES:
        for c in CONVERSION_US:
            if a * c > microseconds:
                break
            if a * c > best:
                best, averages, conversion = a * c, a, c
    return averages, conversion


def _up(value: int, divisor: int) -> int:
    return (value + divisor - 1) // divisor


def _signed(value: int) -> int:
    return value - ((value & 0x8000) << 1)
