# The processor's frequency. It is chosen between inferences, by one of three policies.
#
# fixed: one frequency. deadline: the lowest frequency at which the next inference takes less than so many
# milliseconds, as far as the last ones tell. thermal: as fast as a limit of the die's temperature allows.
#
# On an RP2040 or RP2350, I2C is clocked with the processor and must be set up anew when that changes. UARTs
# are not: MicroPython clocks them with the 48 MHz of USB. On an ESP32 neither depends on the processor.

from array import array

import machine
from micropython import const

POLICIES = ("fixed", "deadline", "thermal")

_REMEMBERED = const(8)  # inferences whose duration is known
_SPARE_PERCENT = const(10)  # of the deadline that a lower frequency must leave
_HYSTERESIS = const(50)  # tenths of °C below the limit, at which the frequency may rise again


class Governor:
    """Sets the processor's frequency, at first to the board's default.

    clock: the board's frequencies in Hz, (default, least, most), as bitnet_board.CLOCK has them. on_change:
    pairs of functions without arguments, to be called before and after a change, for what is clocked with the
    processor; keep_i2c() makes one.

    The frequency changes here, in set() and in before(), which belong between requests, and nowhere else.
    Raises ValueError if the port or the chip cannot change it.
    """

    def __init__(self, clock: tuple, on_change: tuple = ()) -> None:
        if not hasattr(machine, "freq"):
            raise ValueError("this port cannot change the frequency of its processor")
        self.default, self.least, self.most = clock
        self.on_change = on_change
        self.steps = sorted(set(clock))
        self.policy = ""
        self._recent = array("I", bytes(4 * _REMEMBERED))  # thousands of cycles, 0 for none yet
        self._next = 0
        self._began_at = 0  # the frequency at before(); 0 if after() has nothing to learn
        self._sensor = _open_sensor()
        self.set("fixed", self.default)

    @property
    def hertz(self) -> int:
        """The processor's frequency now, in Hz."""
        return machine.freq()

    def temperature(self) -> int | None:
        """Return the die's temperature in tenths of °C; None if the chip has no sensor."""
        return self._sensor() if self._sensor else None

    def set(self, policy: str, value: int) -> None:
        """Choose a policy and its value: Hz, ms or °C. Raises ValueError, and then changes nothing."""
        if policy not in POLICIES:
            raise ValueError("the policies are " + ", ".join(POLICIES))
        if policy == "fixed":
            if not self.least <= value <= self.most:
                raise ValueError(f"the board's frequencies are {self.least} to {self.most} Hz")
            self._move(value)
        elif value <= 0:
            raise ValueError(f"{policy} needs a value above 0")
        elif policy == "thermal" and self._sensor is None:
            raise ValueError("this chip has no sensor of its die's temperature")
        elif policy == "deadline":
            self._forget()
        self.policy = policy
        self.value = value
        self._began_at = 0

    def before(self) -> None:
        """Choose the frequency of the next inference."""
        if self.policy == "deadline":
            self._move(self._for_deadline())
            self._began_at = self.hertz
        elif self.policy == "thermal":
            self._move(self._for_temperature())

    def after(self, latency_ms: int) -> None:
        """Learn from an inference for which before() was called, and which has ended."""
        # If somebody else has changed the frequency meanwhile, the time means nothing.
        if self._began_at and self._began_at == self.hertz:
            self._recent[self._next] = _kilocycles(latency_ms, self._began_at)
            self._next = (self._next + 1) % _REMEMBERED
        self._began_at = 0

    # --- policies ---

    def _forget(self) -> None:
        for i in range(_REMEMBERED):
            self._recent[i] = 0

    def _for_deadline(self) -> int:
        """Return the lowest frequency that is fast enough for the longest of the last inferences."""
        longest = max(self._recent)
        if not longest:
            return self.most
        now = self.hertz
        for hertz in self.steps:
            # A lower frequency must leave time to spare, because the next inference may be longer.
            spare = 0 if hertz >= now else _SPARE_PERCENT
            if longest * 100 <= _kilocycles(self.value, hertz) * (100 - spare):
                return hertz
        return self.most

    def _for_temperature(self) -> int:
        """Return a frequency one step lower above the limit, one step higher well below it, else the same."""
        now = self.hertz
        tenths = self._sensor()
        if tenths > 10 * self.value:
            return max((step for step in self.steps if step < now), default=self.least)
        if tenths <= 10 * self.value - _HYSTERESIS:
            return min((step for step in self.steps if step > now), default=self.most)
        return now

    def _move(self, hertz: int) -> None:
        """Change the frequency, if it is another one, and all that depends on it.

        Raises ValueError if the chip cannot have it; it then stays as it was.
        """
        if hertz == self.hertz:
            return
        for before, _ in self.on_change:
            before()
        try:
            machine.freq(hertz)
        finally:
            for _, after in self.on_change:
                after()


def keep_i2c(number: int, scl: int, sda: int, hertz: int) -> tuple:
    """Make a pair for on_change that keeps an I2C at its speed. The second function returns the I2C.

    Objects of that I2C stay valid.
    """
    # There is no init(), but all objects of one number are the same peripheral: making one sets up all.
    return _nothing, lambda: machine.I2C(number, scl=machine.Pin(scl), sda=machine.Pin(sda), freq=hertz)


def _nothing() -> None:
    pass


def _kilocycles(milliseconds: int, hertz: int) -> int:
    # In this order the product stays a small integer, which takes no memory, for eight seconds at 133 MHz.
    return milliseconds * (hertz // 1000) // 1000


def _open_sensor():
    """Return a function that returns tenths of °C; None if this chip has no sensor."""
    if hasattr(machine, "ADC") and hasattr(machine.ADC, "CORE_TEMP"):
        channel = machine.ADC(machine.ADC.CORE_TEMP)
        return lambda: _from_voltage(channel.read_u16())
    try:
        from esp32 import mcu_temperature  # type: ignore[import-not-found] # noqa: PLC0415
    except ImportError:
        return None
    return lambda: 10 * mcu_temperature()


def _from_voltage(raw: int) -> int:
    """Convert a reading to tenths of °C: 27 °C are 0.706 V, each degree more is 1.721 mV less.

    That is from the RP2040 datasheet, 4.9.5. The reference is taken to be 3.3 V; if it is off by a percent,
    the temperature is off by 4 °C.
    """
    microvolts = (raw >> 4) * 103125 >> 7  # of 3.3 V in 4096 steps
    return 270 - (microvolts - 706000) * 10 // 1721
