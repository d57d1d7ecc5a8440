# Handlers of the commands that look after frequency and energy.

from . import parser
from .command import information
from .parser import AtError


def dvfs(unit) -> tuple:
    """Chooses how the processor's frequency is set: `fixed` (Hz), `deadline` (ms), `thermal` (°C), or `none`
    for the board's own. Running it tells the Hz now, and the temperature in tenths of °C.

    AT+DVFS="deadline",100
    AT+DVFS?
    AT+INFER="What's the temp?"
    AT+DVFS
    """
    governor = unit.governor
    return (governor.policy, governor.value) if governor else ("none", 0)


def set_dvfs(unit, policy: str, value: int) -> None:
    governor = unit.governor
    if governor is None:
        if policy != "none":
            raise AtError(parser.NOT_SUPPORTED, "this board's frequency cannot be changed")
        return
    if policy == "none":
        policy, value = "fixed", governor.default
    try:
        governor.set(policy, value)
    except ValueError as error:
        raise AtError(parser.NOT_ALLOWED, str(error)) from None


def frequency(channel) -> tuple:
    governor = channel.unit.governor
    if governor is None:
        raise AtError(parser.NOT_SUPPORTED, "this board's frequency cannot be changed")
    return (information("+DVFS", governor.hertz, governor.temperature() or 0),)


def energy(channel) -> tuple:
    """Tells the energy of the last inference and of each of its tokens in µJ, and whether it was measured
    (`ina226`) or is an `estimate` from cycles.

    AT+ENERGY?
    """
    meter = channel.unit.meter
    if meter is None:
        raise AtError(parser.NOT_SUPPORTED, "nothing is known of this board's energy")
    return (information("+ENERGY", meter.microjoules, meter.microjoules_per_token, meter.source),)
