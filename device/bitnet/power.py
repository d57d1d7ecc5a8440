# Governor and energy meter of a board, as bitnet_board.py describes it.

import machine

from .energy import Meter
from .governor import Governor, keep_i2c
from .ina226 import Ina226, Ina226Error

_I2C_HZ = 400000


def open_power(clock: tuple | None, power: dict | None) -> tuple:
    """(governor, meter, what is wrong with the sensor or ""); each None where nothing is known.

    clock: (default, least, most) in Hz. power: picojoules_per_cycle and, with a sensor, what Ina226 wants and
    i2c, sda and scl.
    """
    sensor, fault = None, ""
    on_change: tuple = ()
    if power and "address" in power:
        try:
            sensor = _open_sensor(power)
            on_change = (keep_i2c(power["i2c"], power["scl"], power["sda"], _I2C_HZ),)
        except (Ina226Error, OSError) as error:
            fault = f"no INA226 at {power['address']:#x}: {error}"
    governor = Governor(clock, on_change=on_change) if clock and hasattr(machine, "freq") else None
    return governor, Meter(sensor, power["picojoules_per_cycle"]) if power else None, fault


def _open_sensor(power: dict) -> Ina226:
    i2c = machine.I2C(
        power["i2c"], scl=machine.Pin(power["scl"]), sda=machine.Pin(power["sda"]), freq=_I2C_HZ
    )
    return Ina226(i2c, power["address"], power["shunt_milliohms"], power["max_milliamperes"])
