"""The watchdog of an emulated RP2040: what hangs is ended, and the unit says so and goes on by rules."""

from collections.abc import Iterator

import pytest
from bitnet_cli.boards import romfs
from bitnet_cli.boards.at import AtClient, AtTimeoutError
from bitnet_cli.boards.config import UnitConfig
from bitnet_cli.boards.deploy import AGENT, rules_files, unit_files
from bitnet_cli.boards.image import littlefs_image
from bitnet_cli.boards.link import Link
from bitnet_cli.emulation.pico import Pico, PicoPort
from bitnet_cli.paths import DEVICE, STOCK_MODEL
from support.patience import PATIENCE
from support.pico_boards import BOARD, firmware

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

TIMEOUT_MS = 1000
SOON = 256  # bytes, a third of a second at 9600 baud
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
    config = UnitConfig({"WATCHDOG_MS": timeout_ms})
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
    with PicoPort(Pico(flash(changed))) as port, AtClient(port.port, timeout=PATIENCE) as client:
        client.wait_until_ready(PATIENCE)
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
    client.wait_until_ready(PATIENCE)
    assert stat(client).endswith('"watchdog"')
    assert client.infer("Lock the front door").source == "rule"
    assert '"watchdog","watchdog"' in stat(client)
    assert any("watchdog" in line for line in client.command("AT+LOG?").lines)
    assert client.command("AT+RESET").ok
    assert client.infer("What's the temp?").source == "model"


class Metered(Pico):
    """Counts what it is sent while its watchdog runs."""

    def __init__(self, flash: dict[int, bytes]) -> None:
        super().__init__(flash)
        self.sent = 0
        self.resets = 0
        self.chip.watchdog.on_watchdog_trigger = self._count_reset

    @property
    def is_watched(self) -> bool:
        return bool(self.chip.watchdog.read_uint32(CTRL) & ENABLE)

    def send(self, data: bytes) -> None:
        self.sent += len(data) if self.is_watched else 0
        super().send(data)

    def _count_reset(self) -> None:
        self.resets += 1


@pytest.mark.parametrize("script", [AGENT, "checks.py"])
def test_it_stops_with_the_program(script: str) -> None:
    """Deploying and measuring take longer than the timeout, and so does the script over a slow line."""
    pico = Metered(flash({}))
    with PicoPort(pico) as port:
        with AtClient(port.port) as client:
            client.wait_until_ready(PATIENCE)
        assert pico.is_watched
        pico.sent = 0
        with Link(port.port, script) as link:
            assert not pico.is_watched
            assert pico.sent < SOON
            pico.resets = 0  # a loaded PC may have been late itself
            link.run(f"import time; time.sleep_ms({2 * TIMEOUT_MS})")
            assert not pico.resets
        with AtClient(port.port) as client:
            client.wait_until_ready(PATIENCE)
        assert pico.is_watched
