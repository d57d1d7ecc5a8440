# Energy of inferences: measured by an INA226 through which the chip is supplied, or estimated from cycles.
#
# An inference is one call of native code after another, with the heap locked. A timer's callback runs between
# bytecodes, so it would hardly ever run meanwhile, and would take time that it then measures. The sensor can
# average by itself, however. begin() starts an average that ends before the inference does: after a third to
# four fifths of it, if it takes as long as the last one. end() fetches the average, and takes its power for
# that of the whole inference.

from micropython import const

_FIRST_US = const(10000)  # that an average takes before the first inference
_I2C_HZ = const(400_000)
_SHARE_PERCENT = const(80)  # of the time of an inference, in which the next average is to end


class Meter:
    """Measures the energy of inferences, from begin() to end(). ina226: the sensor, if there is one.

    microjoules and microjoules_per_token are those of the last inference. source says where they come from:
    "ina226", or "estimate", which is picojoules_per_cycle times the cycles, or "" if nothing is known.
    fault: why the sensor is not used, or "". on_change: what a Governor is to call for the sensor's I2C.
    """

    def __init__(self, ina226=None, picojoules_per_cycle: int = 0) -> None:
        self._sensor = ina226
        self._picojoules = picojoules_per_cycle
        self._planned_us = _FIRST_US
        self._ready_us = 0  # us from begin() to the end of the average; 0 if there is none
        self.microjoules = 0
        self.microjoules_per_token = 0
        self.source = ""
        self.fault = ""
        self.on_change: tuple = ()

    def begin(self) -> None:
        """Begin to measure, before an inference."""
        if self._sensor is None:
            return
        try:
            self._ready_us = self._sensor.average_over(self._planned_us)
        except OSError:
            self._ready_us = 0  # an estimate then

    def end(self, tokens: int, latency_ms: int, hertz: int) -> None:
        """Compute the energy of the inference that has ended: its tokens, its duration, the frequency."""
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
        """Return the average power in microwatts; None if the sensor has no result of this inference."""
        self._planned_us = latency_ms * 10 * _SHARE_PERCENT
        if latency_ms * 1000 < self._ready_us:  # it was shorter than expected
            return None
        try:
            return self._sensor.power_microwatts()
        except OSError:
            return None


def open_meter(power: dict) -> Meter:
    """Make the meter that bitnet_board.POWER describes. If its sensor cannot be used, `fault` says why."""
    picojoules = power["picojoules_per_cycle"]
    if "i2c" not in power:
        return Meter(None, picojoules)
    from .governor import keep_i2c  # noqa: PLC0415 (only with a sensor)
    from .ina226 import Ina226, Ina226Error  # noqa: PLC0415

    kept = keep_i2c(power["i2c"], power["scl"], power["sda"], _I2C_HZ)
    try:
        sensor = Ina226(kept[1](), power["address"], power["shunt_milliohms"], power["max_milliamperes"])
    except (Ina226Error, OSError, ValueError) as error:  # ValueError: the pins are not this I2C's
        meter = Meter(None, picojoules)
        meter.fault = str(error)
        return meter
    meter = Meter(sensor, picojoules)
    meter.on_change = (kept,)
    return meter
