"""AT commands that need a chip, by a client that is not ours, at the pty of an emulated RP2040."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import serial
from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.image import build_image
from bitnet_cli.emulation.pico import Pico, PicoPort
from bitnet_cli.paths import STOCK_MODEL
from support import at_clients
from support.patience import PATIENCE
from support.pico_boards import BOARD
from support.pico_clocks import DieTemperature
from support.pico_uart import UartPico
from support.traffic import RULE, Client, PtyLine, free_heap, join

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

LINES = 150
HEAP_SLACK = 512  # bytes

COMMANDS = (
    ("AT+GSN", r"[0-9a-f]{16}"),
    ('AT+INFER="What\'s the temp?"', r'\+INFER: "read_temperature",975,"","model",\d+,8,0'),
    ("AT+DVFS?", r'\+DVFS: "fixed",125000000'),
    ("AT+DVFS", r"\+DVFS: 125000000,(?:2[678]\d)"),
    ("AT+ENERGY?", r'\+ENERGY: [1-9]\d+,[1-9]\d+,"estimate"'),
    ('AT+DVFS="fixed",48000000', ""),
    ("AT+DVFS", r"\+DVFS: 48000000,\d+"),
    ('AT+INFER="What\'s the temp?"', r'\+INFER: "read_temperature",975,"","model",\d+,8,0'),
    ('AT+DVFS="deadline",100', ""),
    ('AT+DVFS="thermal",70', ""),
    ("AT+DVFS?", r'\+DVFS: "thermal",70'),
    ("AT+SELFTEST", r'(\+SELFTEST: "\w+","ok"\n?){5}'),
    ("AT&W", ""),
    ("AT+FILES?", r'\+FILES: "profile.json",\d+'),
)
"""Commands in their order, some of them twice, and what each answers before OK."""


@pytest.fixture(scope="module", params=["stdio", "uart"])
def port(request: pytest.FixtureRequest) -> Iterator[str]:
    image = build_image(replace(BOARD, transport=request.param), STOCK_MODEL, print)
    kind = UartPico if request.param == "uart" else Pico
    with PicoPort(kind(image.flash(), [DieTemperature(27)])) as pico:
        with AtClient(pico.port, timeout=PATIENCE) as client:
            client.wait_for_model(PATIENCE)
        yield pico.port


def test_commands(port: str) -> None:
    with at_clients.atlib(port) as client:
        for command, expected in COMMANDS:
            response = client.command(command, timeout=PATIENCE)
            assert response.is_ok, (command, response.final)
            assert re.fullmatch(expected, "\n".join(response.lines)), (command, response.lines)
        assert client.command('AT+DVFS="fixed",1').final.startswith("+CME ERROR: 3")


def test_bytes_of_all_values(port: str) -> None:
    """Also 3, which is Ctrl-C where the REPL is."""
    data = bytes(range(256))
    with AtClient(port, timeout=PATIENCE) as client:
        assert client.send('AT+FILES="write","all"', data).ok
        lines = client.command('AT+FILES="read","all"').lines
        assert "".join(re.findall(r'"(.*)"', "\n".join(lines))) == data.hex()


def test_the_unit_waits_for_data_as_long_as_a_clock_on_the_wall_says(port: str) -> None:
    """Ten seconds; the emulated chip, which sleeps meanwhile, must not have them over before us."""
    with serial.Serial(port, timeout=PATIENCE) as line:
        line.write(b'AT+FILES="write","late",2\r')
        assert line.read_until(b">").endswith(b"OK\r\n\r\n>")
        time.sleep(1)
        line.write(b"AT")
        assert line.read_until(b"OK\r\n") == b"\r\nRecv 2 bytes\r\n\r\nOK\r\n"


def test_traffic(port: str) -> None:
    """A little of tests/system/test_soak.py's, on the heap of a chip and with its ways in."""
    with AtClient(port, timeout=PATIENCE) as client:
        assert client.command(f'AT+RULE=0,"{RULE}"').ok
    before = free_heap(port)
    line = PtyLine(port)
    join([Client(line, seed=7, goes_on=LINES.__gt__, batch=1)])
    line.close()
    after = free_heap(port)
    assert after >= before - HEAP_SLACK, (before, after)
