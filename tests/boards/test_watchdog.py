"""The watchdog of an emulated RP2040: what hangs is ended, and the unit says so and goes on by rules."""

from collections.abc import Iterator

import pytest
from bitnet_cli import romfs
from bitnet_cli.at import AtClient, AtTimeoutError
from bitnet_cli.config import Config
from bitnet_cli.deploy import rules_files, unit_files
from bitnet_cli.image import littlefs_image
from bitnet_cli.paths import DEVICE, STOCK_MODEL
from bitnet_cli.pico import Pico, PicoPort
from pico_boards import BOARD, firmware

TIMEOUT_MS = 1000

# A unit whose model hangs at some phrases.
MAIN = """
from bitnet.session import Session
infer = Session.infer
def hang(self, phrase, *rest):
    while b"hang" in phrase:
        pass
    return infer(self, phrase, *rest)
Session.infer = hang
import service
"""


@pytest.fixture
def client() -> Iterator[AtClient]:
    assert BOARD.flash is not None
    config = Config({"WATCHDOG_MS": TIMEOUT_MS})
    files = {file.path: file.data for file in unit_files(BOARD, config, is_frozen=True)}
    files |= {file.path: file.data for file in rules_files(STOCK_MODEL)}
    files |= {"main.py": MAIN.encode(), "service.py": (DEVICE / "main.py").read_bytes()}
    flash = {
        0: firmware(),
        BOARD.flash.romfs.start: romfs.image({STOCK_MODEL.name: STOCK_MODEL.read_bytes()}),
        BOARD.flash.filesystem.start: littlefs_image(files, BOARD.flash.filesystem.size),
    }
    with PicoPort(Pico(flash)) as port, AtClient(port.port, timeout=120) as client:
        client.wait_until_ready(300)
        assert client.command("AT+CMEE=2").ok
        yield client


def stat(client: AtClient) -> str:
    return client.command("AT+STAT?").lines[0]


def test_a_hung_inference(client: AtClient) -> None:
    assert client.infer("What's the temp?").source == "model"
    assert client.command('AT+GEN="hello",80').ok  # takes longer than the timeout, and gets on
    assert stat(client).endswith('"power"')
    with pytest.raises(AtTimeoutError):
        client.command('AT+INFER="please hang"', timeout=5)
    client.wait_until_ready(300)
    assert stat(client).endswith('"watchdog"')
    assert client.infer("Lock the front door").source == "rule"
    assert '"watchdog","watchdog"' in stat(client)
    assert any("watchdog" in line for line in client.command("AT+LOG?").lines)
    assert client.command("AT+RESET").ok
    assert client.infer("What's the temp?").source == "model"
