"""Frequency, temperature, INA226 and energy: real firmware on an emulated RP2040 and what is wired to it."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from bitnet_cli.boards.board import CONFIG_NAME, Ina226, Power
from bitnet_cli.boards.image import littlefs_image
from bitnet_cli.emulation import simulator
from bitnet_cli.emulation.pico import Pico
from bitnet_cli.emulation.pico_repl import Repl
from bitnet_cli.emulation.pico_timing import EMULATED_HZ, TimedPico
from support import ina226_chip
from support.ina226_chip import Ina226Chip
from support.pico_boards import BOARD, firmware
from support.pico_clocks import DieTemperature, PicoClocks
from support.pico_uart import QuietUarts

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

CLOCK = (125_000_000, 48_000_000, 133_000_000)  # default, least, most
STEPS = sorted(CLOCK)
BUS, SDA, SCL, SCL_HZ = 1, 2, 3, 400_000
ALERT = 22
WITH_SENSOR = replace(BOARD, power=Power(750, Ina226(BUS, SDA, SCL, 0x40, 100, 100)))

IMPORTS = f"""
import machine, time
from bitnet.power.governor import Governor, keep_i2c
from bitnet.power.ina226 import *
from bitnet.power.energy import Meter, open_meter
i2c = machine.I2C({BUS}, scl=machine.Pin({SCL}), sda=machine.Pin({SDA}), freq={SCL_HZ})
alert = machine.Pin({ALERT}, machine.Pin.IN)
kept = keep_i2c({BUS}, {SCL}, {SDA}, {SCL_HZ})
def refused(function, *arguments):
    try:
        function(*arguments)
    except (ValueError, Ina226Error) as error:
        print(error)
"""


class Unit:
    """A REPL, and what the test changes around the chip."""

    def __init__(self) -> None:
        assert BOARD.flash is not None
        self.clocks = PicoClocks()
        self.die = DieTemperature(30)
        self.sensor = Ina226Chip(self.clocks, BUS, alert=ALERT)
        files = littlefs_image({CONFIG_NAME: WITH_SENSOR.config()}, BOARD.flash.filesystem.size)
        flash = {0: firmware(), BOARD.flash.filesystem.start: files}
        devices = [self.clocks, self.die, self.sensor, QuietUarts()]
        self.pico = Pico(flash, devices)
        self.repl = Repl(self.pico)
        self._timed = TimedPico(self.pico)
        self.run(IMPORTS)

    def run(self, code: str) -> list[str]:
        return self.repl.run(code)

    def microseconds(self, code: str) -> int:
        """What it prints, with flash as slow as it is."""
        (line,) = self.repl.run(code, self._timed)
        return int(line)


@pytest.fixture(scope="module")
def booted() -> Unit:
    return Unit()


@pytest.fixture
def unit(booted: Unit) -> Iterator[Unit]:
    """At its default, with a sensor that measures 3.3 V and 30 mA; the bus is never used wrongly."""
    booted.die.celsius = 30
    booted.sensor.is_present = True
    booted.sensor.identity = 0x5449, 0x2260
    booted.sensor.load = lambda _: (3_300_000, 30_000)
    booted.run(f"machine.freq({CLOCK[0]})\nkept[1]()")
    booted.sensor.written.clear()
    yield booted
    assert booted.sensor.violations == []


# --- the governor ---


def test_every_change_leaves_uart_and_i2c_as_they_were(unit: Unit) -> None:
    unit.run("uart = machine.UART(0, baudrate=115200)\nsensor = Ina226(i2c)\ntime.sleep_ms(3)")
    unit.run(f"governor = Governor({CLOCK}, on_change=(kept,))")
    for hertz in (*STEPS, *reversed(STEPS)):
        assert unit.run(f"governor.set('fixed', {hertz})\nprint(governor.hertz)") == [str(hertz)]
        assert unit.clocks.sys_hz == hertz
        assert unit.clocks.baudrate(0) == pytest.approx(115200, rel=0.003)
        assert unit.clocks.scl_hz(BUS) == pytest.approx(SCL_HZ, rel=0.01)
        assert unit.run("print(sensor.bus_microvolts())") == ["3300000"]
    assert all(rate <= SCL_HZ for rate in unit.sensor.scl_hz)


def test_i2c_would_change_with_the_processor(unit: Unit) -> None:
    """Which is why there is on_change."""
    unit.run(f"Governor({CLOCK}).set('fixed', {STEPS[0]})")
    assert unit.clocks.scl_hz(BUS) == pytest.approx(SCL_HZ * STEPS[0] / CLOCK[0], rel=0.01)


def test_what_depends_on_the_clock_is_told_before_and_after(unit: Unit) -> None:
    unit.run("told = []\npair = (lambda: told.append(machine.freq()), lambda: told.append(machine.freq()))")
    unit.run(f"governor = Governor({CLOCK}, on_change=(pair,))\ngovernor.before()\ngovernor.after(9)")
    unit.run(f"governor.set('fixed', {STEPS[0]})\ngovernor.set('fixed', {STEPS[0]})")
    assert unit.run("print(told)") == [str([CLOCK[0], STEPS[0]])]


INFERENCES = """
def infer(kilocycles):
    governor.before()
    latency_ms = kilocycles * 1000 // (governor.hertz // 1000)
    governor.after(latency_ms)
    return governor.hertz // 1000000
"""


def test_deadline(unit: Unit) -> None:
    """As slow as the longest of the last eight allows; at once faster for a longer one."""
    unit.run(INFERENCES + f"governor = Governor({CLOCK})\ngovernor.set('deadline', 100)")
    assert unit.run("print([infer(4000) for _ in range(3)])") == ["[133, 48, 48]"]
    # 5,000,000 cycles take 104 ms at 48 MHz.
    assert unit.run("print([infer(5000), infer(5000), infer(4000)])") == ["[48, 125, 125]"]
    # At 48 MHz the deadline would be met with less than a tenth to spare: not worth slowing down for.
    assert unit.run("print([infer(4500) for _ in range(9)])") == [str([125] * 9)]
    assert unit.run("print([infer(4200) for _ in range(9)])") == [str([125] * 8 + [48])]
    # But what is slow already stays so.
    assert unit.run("print([infer(4700), infer(4700)])") == ["[48, 48]"]
    assert unit.run("print([infer(20000), infer(20000)])") == ["[48, 133]"]


def test_deadline_learns_only_from_whole_inferences(unit: Unit) -> None:
    unit.run(
        f"governor = Governor({CLOCK})\ngovernor.set('deadline', 100)\ngovernor.after(1)"
    )  # that never began
    assert unit.run("governor.before()\nprint(governor.hertz)") == [str(STEPS[2])]
    unit.run(f"machine.freq({STEPS[1]})\ngovernor.after(1)")  # during which somebody changes the frequency
    assert unit.run("governor.before()\nprint(governor.hertz)") == [str(STEPS[2])]
    assert unit.run("governor.after(1)\ngovernor.before()\nprint(governor.hertz)") == [str(STEPS[0])]


def test_temperature(unit: Unit) -> None:
    unit.run(f"governor = Governor({CLOCK})")
    for celsius in (-20, 0, 27, 60, 85):
        unit.die.celsius = celsius
        (tenths,) = unit.run("print(governor.temperature())")
        assert int(tenths) == pytest.approx(10 * celsius, abs=5)  # a step of the ADC is half a degree


def test_thermal(unit: Unit) -> None:
    """A step at a time, down above 70 °C, up below 65 °C."""
    unit.run(f"governor = Governor({CLOCK})\ngovernor.set('thermal', 70)")
    found = []
    for celsius in (30, 30, 69, 72, 72, 72, 68, 66, 64, 66, 64, 64):
        unit.die.celsius = celsius
        found += unit.run("governor.before()\ngovernor.after(50)\nprint(governor.hertz // 1000000)")
    assert found == ["133", "133", "133", "125", "48", "48", "48", "48", "125", "125", "133", "133"]


def test_what_a_governor_refuses(unit: Unit) -> None:
    unit.run(f"governor = Governor({CLOCK})\ngovernor.set('thermal', 70)")
    assert unit.run("refused(governor.set, 'turbo', 1)") == ["the policies are fixed, deadline, thermal"]
    assert unit.run("refused(governor.set, 'fixed', 200000000)") == [
        "the board's frequencies are 48000000 to 133000000 Hz"
    ]
    assert unit.run("refused(governor.set, 'fixed', 130001000)") == ["cannot change frequency"]
    assert unit.run("refused(governor.set, 'deadline', 0)") == ["deadline needs a value above 0"]
    assert unit.run("print(governor.policy, governor.value, governor.hertz)") == [f"thermal 70 {CLOCK[0]}"]


def test_a_port_without_frequencies() -> None:
    code = f"from bitnet.power.governor import Governor\ntry:\n    Governor({CLOCK})\n"
    code += "except ValueError as error:\n    print(error)"
    done = subprocess.run(
        [simulator.micropython(), "-c", code],
        env=simulator.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "this port cannot change the frequency of its processor\n"


# --- the sensor ---


def test_registers(unit: Unit) -> None:
    """Bit for bit: reset, calibration of 0.00512 / (4 uA * 0.1 ohm), mode."""
    unit.run("sensor = Ina226(i2c, max_milliamperes=100)")
    assert unit.sensor.written == [
        (ina226_chip.CONFIGURATION, 0xC000),
        (ina226_chip.CALIBRATION, 12800),
        (ina226_chip.CONFIGURATION, 0b0100_000_100_100_111),
    ]
    unit.sensor.written.clear()
    unit.run("sensor.configure(64, 332, 8244)")
    assert unit.sensor.written == [(ina226_chip.CONFIGURATION, 0b0100_011_010_111_111)]
    assert unit.run("refused(sensor.configure, 2)") == ["2 is none of (1, 4, 16, 64, 128, 256, 512, 1024)"]


def test_calibration(unit: Unit) -> None:
    """The current's step is the smallest that the most current, and 15 bits of register, allow."""
    for shunt, most, step, calibration in (
        (100, 0, 25, 2048),
        (100, 819, 25, 2048),
        (100, 1, 2, 25600),
        (2, 20_000, 611, 4190),
        (1000, 80, 3, 1707),
    ):
        unit.sensor.written.clear()
        assert unit.run(f"print(Ina226(i2c, 64, {shunt}, {most}).current_step)") == [str(step)]
        assert unit.sensor.written[1] == (ina226_chip.CALIBRATION, calibration)
    assert unit.run("refused(Ina226, i2c, 64, 100, 820)") == [
        "820 mA through 100 milliohms: the sensor measures up to 81.92 mV"
    ]
    assert unit.run("refused(Ina226, i2c, 64, 0)")[0].startswith("0 mA through 0 milliohms")


def test_a_ramp_of_current(unit: Unit) -> None:
    unit.run("sensor = Ina226(i2c, max_milliamperes=200)\nsensor.configure(1, 140, 140)")
    for microamperes in range(-180_000, 200_001, 47_500):
        unit.sensor.load = lambda _, now=microamperes: (5_000_000, now)
        code = "time.sleep_ms(1)\nprint(sensor.bus_microvolts(), sensor.shunt_nanovolts(), "
        code += "sensor.current_microamperes(), sensor.power_microwatts())"
        bus, shunt, current, power = map(int, unit.run(code)[0].split())
        assert bus == 5_000_000
        assert shunt == 100 * microamperes // 2500 * 2500
        assert current == pytest.approx(microamperes, abs=25 + 7)  # a step of the shunt's and one of its own
        assert power == pytest.approx(abs(microamperes) * 5, abs=5 * 32 + 25 * 7)


def test_averages(unit: Unit) -> None:
    """Of a current that rises by 1 mA in a ms, over about 35 ms."""
    unit.run("sensor = Ina226(i2c, max_milliamperes=100)")
    began = unit.pico.clock.nanos
    unit.sensor.load = lambda nanos: (3_300_000, int(nanos - began) // 1000)
    (printed,) = unit.run(
        "sensor.configure(16, 1100, 1100)\ntime.sleep_ms(36)\nprint(sensor.current_microamperes())"
    )
    assert int(printed) == pytest.approx(17_600, abs=5_000)  # the REPL takes some ms


def test_ready(unit: Unit) -> None:
    code = "sensor = Ina226(i2c)\nsensor.configure(64, 1100, 1100)\nprint(sensor.flags() & READY)"
    assert unit.run(code) == ["0"]
    assert unit.run("time.sleep_ms(150)\nprint(sensor.flags() & READY, sensor.flags() & READY)") == ["8 0"]


def test_alert_latched_and_not(unit: Unit) -> None:
    unit.run("sensor = Ina226(i2c)\nsensor.configure(1, 140, 140)")
    look = "time.sleep_ms(1)\nprint(alert.value(), sensor.flags() & ALERTED)"
    for latch, after in ((False, "1 0"), (True, "0 16")):
        unit.sensor.load = lambda _: (3_300_000, 30_000)
        unit.sensor.written.clear()
        unit.run(f"sensor.alert(OVER_CURRENT, 50000, {latch})")
        assert unit.sensor.written == [
            (ina226_chip.ALERT_LIMIT, 2000),  # 5 mV
            (ina226_chip.MASK_ENABLE, 0x8000 | latch),
        ]
        assert unit.run(look) == ["1 0"]
        unit.sensor.load = lambda _: (3_300_000, 60_000)
        assert unit.run("time.sleep_ms(1)\nprint(alert.value())") == ["0"]
        unit.sensor.load = lambda _: (3_300_000, 30_000)
        assert unit.run(look) == [after]
        assert unit.run(look) == ["1 0"]  # reading it has ended the latched one
    unit.sensor.load = lambda _: (3_300_000, 60_000)
    assert unit.run("sensor.alert_off()\n" + look) == ["1 0"]


@pytest.mark.parametrize(
    ("function", "limit", "register", "beyond"),
    [
        ("UNDER_CURRENT", -20_000, 0x10000 - 800, (3_300_000, -25_000)),
        ("OVER_VOLTAGE", 3_500_000, 2800, (3_600_000, 0)),
        ("UNDER_VOLTAGE", 3_000_000, 2400, (2_900_000, 0)),
        ("OVER_POWER", 125_000, 200, (3_300_000, 40_000)),
    ],
)
def test_alert_functions(
    unit: Unit, function: str, limit: int, register: int, beyond: tuple[int, int]
) -> None:
    unit.run(f"sensor = Ina226(i2c)\nsensor.configure(1, 140, 140)\nsensor.alert({function}, {limit})")
    assert unit.sensor.written[-2] == (ina226_chip.ALERT_LIMIT, register)
    assert unit.run("time.sleep_ms(1)\nprint(alert.value())") == ["1"]
    unit.sensor.load = lambda _: beyond
    assert unit.run("time.sleep_ms(1)\nprint(alert.value())") == ["0"]


def test_limits_that_cannot_be(unit: Unit) -> None:
    unit.run("sensor = Ina226(i2c)")
    for function, limit in (("OVER_CURRENT", 900_000), ("UNDER_VOLTAGE", -1), ("OVER_POWER", 1 << 30)):
        assert unit.run(f"refused(sensor.alert, {function}, {limit})") == [
            f"a limit of {limit} is more than can be measured"
        ]


def test_no_sensor_or_another(unit: Unit) -> None:
    unit.sensor.is_present = False
    assert unit.run("refused(Ina226, i2c)") == ["no INA226 at 0x40: nothing answers there"]
    unit.sensor.is_present = True
    assert unit.run("refused(Ina226, i2c, 0x41)") == ["no INA226 at 0x41: nothing answers there"]
    unit.sensor.identity = (0x5449, 0x2270)
    assert unit.run("refused(Ina226, i2c)") == ["no INA226 at 0x40: the IDs read 0x5449, 0x2270"]
    unit.sensor.identity = (0x5449, 0x2261)  # the next revision
    assert unit.run("print(Ina226(i2c).current_step)") == ["25"]


def test_a_sensor_that_falls_silent(unit: Unit) -> None:
    unit.run("sensor = Ina226(i2c)")
    unit.sensor.is_present = False
    silent = "try:\n    sensor.power_microwatts()\nexcept OSError as error:\n    print(error.errno)"
    assert unit.run(silent) == ["5"]  # EIO


# --- energy ---

MEASURE = """
def measure(ms, tokens=10):
    meter.begin()
    time.sleep_ms(ms)
    meter.end(tokens, ms, machine.freq())
    print(meter.source, meter.microjoules, meter.microjoules_per_token)
"""


def test_energy_measured(unit: Unit) -> None:
    """3.3 V and 30 mA for 50 ms are 4950 uJ."""
    unit.run(MEASURE + "sensor = Ina226(i2c, max_milliamperes=100)\nmeter = Meter(sensor, 750)")
    assert unit.run("measure(50)\nmeasure(50)") == ["ina226 4950 495"] * 2
    unit.sensor.load = lambda _: (3_300_000, 20_000)
    assert unit.run("measure(50)") == ["ina226 3300 330"]


def test_energy_is_averaged_over_most_of_an_inference(unit: Unit) -> None:
    """What the load does in its last fifth at most is not seen; what it did before begin() never is."""
    unit.run(MEASURE + "sensor = Ina226(i2c, max_milliamperes=100)\nmeter = Meter(sensor)")
    unit.run("measure(50)")
    began = unit.pico.clock.nanos
    # Twice the current in the second half.
    unit.sensor.load = lambda nanos: (3_300_000, 20_000 if nanos - began < 25_000_000 else 40_000)
    source, microjoules, _ = unit.run("measure(50)")[0].split()
    assert source == "ina226"
    assert 3.3 * 20_000 * 50 / 1000 < int(microjoules) <= 3.3 * 30_000 * 50 / 1000


def test_a_shorter_inference_is_estimated_until_the_average_is_shorter(unit: Unit) -> None:
    unit.run(MEASURE + "sensor = Ina226(i2c, max_milliamperes=100)\nmeter = Meter(sensor, 750)")
    estimate = 20 * 125_000 * 750 // 10**6
    lines = unit.run("measure(50)\nmeasure(50)\nmeasure(20)\nmeasure(20)")
    assert lines == ["ina226 4950 495"] * 2 + [f"estimate {estimate} {estimate // 10}", "ina226 1980 198"]


def test_energy_estimated(unit: Unit) -> None:
    """With no sensor, and with one that falls silent: 57 ms at 133 MHz and 750 pJ a cycle."""
    call = "meter.begin()\nmeter.end({}, 57, 133000000)\nprint(meter.source, meter.microjoules)"
    assert unit.run("meter = Meter(None, 750)\n" + call.format(12)) == ["estimate 5685"]
    assert unit.run(call.format(0) + "\nprint(meter.microjoules_per_token)") == ["estimate 5685", "5685"]
    unit.run("sensor = Ina226(i2c)\nmeter = Meter(sensor, 750)")
    unit.sensor.is_present = False
    assert unit.run(call.format(12)) == ["estimate 5685"]
    assert unit.run("meter = Meter()\n" + call.format(12)) == [" 0"]


def test_a_unit_measures_at_every_frequency(unit: Unit) -> None:
    """Its governor sets the I2C of its sensor anew."""
    unit.sensor.scl_hz.clear()
    unit.run(MEASURE + "from bitnet.unit import Unit\nunit = Unit()\nmeter = unit.meter")
    unit.run("measure(50)")
    for hertz in STEPS:
        assert unit.run(f"unit.governor.set('fixed', {hertz})\nmeasure(50)") == ["ina226 4950 495"]
        assert unit.clocks.sys_hz == hertz
    assert all(hertz == pytest.approx(SCL_HZ, rel=0.01) for hertz in unit.sensor.scl_hz)


def test_a_unit_without_its_sensor_estimates_and_says_why(unit: Unit) -> None:
    unit.sensor.is_present = False
    unit.run(MEASURE + "from bitnet.unit import Unit\nunit = Unit()\nmeter = unit.meter")
    assert unit.run("measure(8)\nprint(meter.on_change)") == ["estimate 750 75", "()"]
    entry = "print([entry[1:] for entry in unit.log.entries() if entry[1] == 'meter'])"
    assert unit.run(entry) == ["[('meter', 'no INA226 at 0x40: nothing answers there')]"]


def test_a_meter_that_cannot_be_opened(unit: Unit) -> None:
    unit.run("from bitnet_board import POWER\nPOWER = dict(POWER)")
    assert unit.run("POWER['sda'] = 4\nprint(open_meter(POWER).fault)") == ["bad SDA pin"]
    assert unit.run("print(open_meter({'picojoules_per_cycle': 750}).fault)") == [""]


# --- costs ---


AROUND = "governor.before()\n governor.after(80)"
METER = "meter.begin()\n meter.end(10, 57, 125000000)"
COSTS = (  # name, what is done first, what is counted, and the most cycles it may take
    ("governor, fixed", f"governor.set('fixed', {CLOCK[0]})", AROUND, 25_000),
    ("governor, deadline", "governor.set('deadline', 100)", AROUND, 140_000),
    ("governor, thermal", "governor.set('thermal', 70)", AROUND, 100_000),
    ("change of frequency", "None", f"machine.freq({CLOCK[0]})\n governor.set('fixed', {STEPS[2]})", 130_000),
    ("meter, estimate", "meter = Meter(None, 750)", METER, 30_000),
    ("meter, INA226", "meter = Meter(Ina226(i2c), 750)", METER, 170_000),
    ("... two phrases of different lengths", "None", f"{METER}\n {METER.replace('57', '157')}", 550_000),
)


COUNT = """
def once():
 {code}
once()
began = time.ticks_us()
for _ in range({rounds}):
 once()
print(time.ticks_diff(time.ticks_us(), began))
"""
ROUNDS = 8


def test_costs(unit: Unit) -> None:
    """Around an inference, flash and wire included; the inference itself is left alone."""
    unit.run(f"governor = Governor({CLOCK}, on_change=(kept,))")
    nothing = unit.microseconds(COUNT.format(code="pass", rounds=ROUNDS))
    for name, first, code, most in COSTS:
        unit.run(first)
        microseconds = unit.microseconds(COUNT.format(code=code, rounds=ROUNDS)) - nothing
        cycles = microseconds * (EMULATED_HZ // 1_000_000) // ROUNDS
        print(f"{name}: {cycles:,} cycles")
        assert 0 < cycles < most, name
