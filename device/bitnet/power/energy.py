# Energy of inferences: measured by an INA226 through which the chip is supplied, or estimated from cycles.
#
# An inference is one call of native code after another, with the heap locked. A timer's callback runs between
# bytecodes, that is to say hardly ever meanwhile, and would take time that it then measures. So the sensor
# averages by itself: begin() starts an average that is over before the inference is, after a third to four
# fifths of it if it takes as long as the last one, and end() fetches it. Its power is taken for the whole.

from micropython import const

_FIRST_US = const(10000)  # of an average, before there was an inference
_I2C_HZ = const(400_000)
_SHARE_PERCENT = const(80)  # of an inference, in which the next one's average is to be over


class Meter:
    """Measures from begin() to end(). ina226: the sensor, if there is one.

    Of the last inference: microjoules, microjoules_per_token, and source: "ina226"; or "estimate", which is
    picojoules_per_cycle times the cycles; or "" if neither is known. fault: why a sensor is not used, or "".
    on_change: for a Governor, of the sensor's I2C.
    """

    def __init__(self, ina226=None, picojoules_per_cycle: int = 0) -> None:
        self._sensor = ina226
        self._picojoules = picojoules_per_cycle
        self._planned_us = _FIRST_US
        self._ready_us = 0  # after begin(); 0 if the sensor has not begun
        self.microjoules = 0
        self.microjoules_per_token = 0
        self.source = ""
        self.fault = ""
        self.on_change: tuple = ()

    def begin(self) -> None:
        """Ahead of an inference."""
        if self._sensor is None:
            return
        try:
            self._ready_us = self._sensor.average_over(self._planned_us)
        except OSError:
            self._ready_us = 0  # an estimate then

    def end(self, tokens: int, latency_ms: int, hertz: int) -> None:
        """When it has ended: with so many tokens computed, after so long, at this frequency."""
        microwatts = self._measured(latency_ms) if self._ready_us else None
        if microwatts is not None:
            self.source = "ina226"
            self.microjoules = microwatts * latency_ms // 1000
        elif self._picojoules:
            self.source = "estimate"
            self.microjoules = latency_ms * (hertz // 1000) // 1000 * self._picojoules // 1000
        else:
            self.source = ""
            self.microjoules = 0
        self.microjoules_per_token = self.microjoules // max(tokens, 1)

    def _measured(self, latency_ms: int) -> int | None:
        """Average power in microwatts; None if the sensor has no result of this inference."""
        self._planned_us = latency_ms * 10 * _SHARE_PERCENT
        if latency_ms * 1000 < self._ready_us:  # shorter than the one before
            return None
        try:
            return self._sensor.power_microwatts()
        except OSError:
            return None


def open_meter(power: dict) -> Meter:
    """The meter that bitnet_board.POWER describes. If its sensor cannot be used, `fault` says why."""
    picojoules = power["picojoules_per_cycle"]
    if "i2c" not in power:
        return Meter(None, picojoules)
    from .governor import keep_i2c  # noqa: PLC0415 (only with a sensor)
    from .ina226 import Ina226, Ina226Error  # noqa: PLC0415

    kept = keep_i2c(power["i2c"], power["scl"], power["sda"], _I2C_HZ)
    try:
        sensor = Ina226(kept[1](), power["address"], power["shunt_milliohms"], power["max_milliamperes"])
    except (Ina226Error, OSError, ValueError) as error:  # the last: pins that are not this I2C's
        meter = Meter(None, picojoules)
        meter.fault = str(error)
        return meter
    meter = Meter(sensor, picojoules)
    meter.on_change = (kept,)
    return meter
