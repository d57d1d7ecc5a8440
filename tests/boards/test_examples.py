"""The examples of device/, run as a reader would: by mpremote, on an emulated Pico with its pins in use."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bitnet_cli.boards.image import build_image
from bitnet_cli.emulation.pico import Pico, PicoPort
from bitnet_cli.paths import DEVICE, STOCK_MODEL
from rp2040py.gpio_pin import GPIOPinState
from rp2040py.rp2040 import RP2040
from support.patience import PATIENCE
from support.pico_boards import BOARD, model_line
from support.pico_uart import QuietUarts

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

EXAMPLES = DEVICE / "examples"
LAMP = 15
FULL_SCALE = 4095  # of the ADC


class Lamp:
    """A pico.Device on a pin, which notes when it goes on and off."""

    def __init__(self, pin: int) -> None:
        self._pin = pin
        self.levels: list[bool] = []

    def attach(self, rp2040: RP2040) -> None:
        rp2040.gpio[self._pin].add_listener(self._on_change)

    def _on_change(self, state: GPIOPinState, before: GPIOPinState) -> None:
        if {state, before} <= {GPIOPinState.LOW, GPIOPinState.HIGH}:
            self.levels.append(state == GPIOPinState.HIGH)


class LightSensor:
    """A pico.Device at the first pin of the ADC; a volt is 1000/3.3 lux."""

    lux = 0

    def attach(self, rp2040: RP2040) -> None:
        adc = rp2040.adc
        adc.on_adc_read = lambda channel: adc.complete_adc_read(
            self.lux * FULL_SCALE // 1000 if channel == 0 else 0, False
        )


class PicoWithUart(Pico):
    """Has a client at UART 0, beside the USB."""

    def __init__(self, flash: dict[int, bytes]) -> None:
        super().__init__(flash, [QuietUarts()])
        self.heard = bytearray()
        self.to_say = bytearray()
        self._uart = self.chip.uart[0]
        self._uart.on_byte = self.heard.append

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not self.to_say

    def run(self) -> bool:
        while self.to_say and not self._uart.rx_fifo.full:
            self._uart.feed_byte(self.to_say.pop(0))
        return super().run()


def flash(model: Path = STOCK_MODEL) -> dict[int, bytes]:
    return build_image(BOARD, model, print).flash()


def run(port: str, example: str, *options: str) -> list[str]:
    """The lines that an example prints."""
    command = [sys.executable, "-m", "mpremote", "connect", port, "run", *options, str(EXAMPLES / example)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_phrase_to_gpio() -> None:
    lamp = Lamp(LAMP)
    with PicoPort(Pico(flash(), [lamp])) as pico:
        model_line(pico.port)  # the board has started, and can be interrupted
        printed = run(pico.port, "phrase_to_gpio.py")
    assert [line.partition(" -> ")[2] for line in printed] == ["light_on", "unknown", "light_off"]
    assert lamp.levels == [True, False]


@pytest.fixture(scope="module")
def office() -> Iterator[tuple[str, LightSensor]]:
    sensor = LightSensor()
    with PicoPort(Pico(flash(DEVICE / "models" / "occupancy.bitnet"), [sensor])) as pico:
        model_line(pico.port)
        yield pico.port, sensor


@pytest.mark.parametrize(("lux", "intent"), [(0, "empty"), (450, "occupied")])
def test_sensor_to_answer(office: tuple[str, LightSensor], lux: int, intent: str) -> None:
    port, sensor = office
    sensor.lux = lux
    (line,) = run(port, "sensor_to_answer.py")
    assert line.split()[0] == intent


def test_at_over_uart() -> None:
    chip = PicoWithUart(flash())
    with PicoPort(chip) as pico:
        model_line(pico.port)
        run(pico.port, "at_over_uart.py", "--no-follow")
        wait_for(lambda: b"ready\r\n" in chip.heard)
        chip.heard.clear()
        chip.to_say += b'AT+INFER="What\'s the temp?"\r'
        wait_for(lambda: chip.heard.endswith(b"\r\nOK\r\n"))
    assert chip.heard.startswith(b'\r\n+INFER: "read_temperature",')
