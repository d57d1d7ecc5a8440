"""The watchdog of an emulated RP2040: what hangs is ended, and the unit says so and goes on by rules."""

from collections.abc import Iterator

import pytest
from bitnet_cli import romfs
from bitnet_cli.at import AtClient, AtTimeoutError
from bitnet_cli.config import Config
from bitnet_cli.deploy import AGENT, rules_files, unit_files
from bitnet_cli.image import littlefs_image
from bitnet_cli.link import Link
from bitnet_cli.paths import DEVICE, STOCK_MODEL
from bitnet_cli.pico import Pico, PicoPort
from pico_boards import BOARD, firmware

TIMEOUT_MS = 1000
CTRL, ENABLE = 0, 1 << 30  # a register of the watchdog, and a bit of it

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


def flash(changed: dict[str, bytes], timeout_ms: int = TIMEOUT_MS) -> dict[int, bytes]:
    """Of a unit with a watchdog, with other files."""
    assert BOARD.flash is not None
    config = Config({"WATCHDOG_MS": timeout_ms})
    files = {file.path: file.data for file in unit_files(BOARD, config, is_frozen=True)}
    files |= {file.path: file.data for file in rules_files(STOCK_MODEL)} | changed
    return {
        0: firmware(),
        BOARD.flash.romfs.start: romfs.image({STOCK_MODEL.name: STOCK_MODEL.read_bytes()}),
        BOARD.flash.filesystem.start: littlefs_image(files, BOARD.flash.filesystem.size),
    }


@pytest.fixture
def client() -> Iterator[AtClient]:
    changed = {"main.py": MAIN.encode(), "service.py": (DEVICE / "main.py").read_bytes()}
    with PicoPort(Pico(flash(changed))) as port, AtClient(port.port, timeout=120) as client:
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


@pytest.mark.parametrize("script", [AGENT, "checks.py"])
def test_it_stops_with_the_program(script: str) -> None:
    """Deploying and measuring take longer than the timeout."""
    pico = Pico(flash({}))
    watchdog = pico.chip.watchdog
    resets: list[int] = []
    watchdog.on_watchdog_trigger = lambda: resets.append(1)
    with PicoPort(pico) as port:
        with AtClient(port.port) as client:
            client.wait_until_ready(300)
            assert watchdog.read_uint32(CTRL) & ENABLE
        with Link(port.port, script) as link:
            assert not watchdog.read_uint32(CTRL) & ENABLE
            # An emulated chip whose REPL waits for a script waits as long as its next alarm is away.
            resets.clear()
            link.run(f"import time; time.sleep_ms({2 * TIMEOUT_MS})")
            assert not resets
        with AtClient(port.port) as client:
            client.wait_until_ready(300)
            assert watchdog.read_uint32(CTRL) & ENABLE
