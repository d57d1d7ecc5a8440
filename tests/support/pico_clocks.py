"""The clocks of an emulated RP2040 as its firmware sets them, which the emulator itself does not follow."""

from rp2040py.peripherals.i2c import I2CSpeed
from rp2040py.peripherals.peripheral import BasePeripheral
from rp2040py.rp2040 import RP2040

_CRYSTAL_HZ = 12_000_000
_USB_HZ = 48_000_000
_PLL_SYS = 0x40028  # by the first digits of its address
_CS, _FEEDBACK, _PRIMARY = 0x00, 0x08, 0x0C
_LOCKED = 1 << 31


class _Pll(BasePeripheral):
    """Registers that hold what is written; always locked (RP2040 datasheet, 2.18.4)."""

    def __init__(self, rp2040: RP2040) -> None:
        super().__init__(rp2040, "PLL_SYS")
        self._registers: dict[int, int] = {}

    def read_uint32(self, offset: int) -> int:
        return self._registers.get(offset, 0) | (_LOCKED if offset == _CS else 0)

    def write_uint32(self, offset: int, value: int) -> None:
        self._registers[offset] = value

    @property
    def hertz(self) -> int:
        primary = self._registers[_PRIMARY]
        divisor = (primary >> 16 & 7) * (primary >> 12 & 7) * (self._registers[_CS] & 0x3F)
        return _CRYSTAL_HZ * self._registers[_FEEDBACK] // divisor


class PicoClocks:
    """A pico.Device: in Hz, at every moment."""

    def attach(self, rp2040: RP2040) -> None:
        self._rp2040 = rp2040
        self._pll = _Pll(rp2040)
        rp2040.peripherals[_PLL_SYS] = self._pll

    @property
    def sys_hz(self) -> int:
        control = self._rp2040.clocks.sys_ctrl
        if not control & 1:
            return _CRYSTAL_HZ  # clk_ref
        source = (self._pll.hertz, _USB_HZ)[control >> 5 & 7]
        return source * 256 // self._rp2040.clocks.sys_div

    @property
    def peri_hz(self) -> int:
        """Of UARTs."""
        return (self.sys_hz, self._pll.hertz, _USB_HZ)[self._rp2040.clocks.peri_ctrl >> 5 & 7]

    def baudrate(self, number: int) -> float:
        """Of a UART: 4.2.7.1."""
        return self.peri_hz / (16 * self._rp2040.uart[number].baud_divider)

    def scl_hz(self, number: int) -> int:
        """Of an I2C: 4.3.14, but for the few cycles that edges take longer."""
        i2c = self._rp2040.i2c[number]
        assert i2c.speed == I2CSpeed.FAST_MODE
        return self.sys_hz // (i2c.scl_high_period + i2c.scl_low_period)


class DieTemperature:
    """A pico.Device: what the sensor in the chip says of `celsius` (4.9.5)."""

    def __init__(self, celsius: float) -> None:
        self.celsius = celsius

    def attach(self, rp2040: RP2040) -> None:
        self._adc = rp2040.adc
        self._adc.on_adc_read = self._on_read

    def _on_read(self, channel: int) -> None:
        volts = 0.706 - (self.celsius - 27) * 0.001721
        is_on = channel == 4 and self._adc.temperature_enable
        self._adc.complete_adc_read(round(volts / 3.3 * 4096) if is_on else 0, False)
