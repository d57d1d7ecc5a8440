"""Deployment over USB onto an emulated Pico that runs real MicroPython."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bitnet_cli.boards import deploy as deployment
from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.board import read_board
from bitnet_cli.boards.config import UnitConfig
from bitnet_cli.boards.deploy import AGENT, Deployment, deploy
from bitnet_cli.boards.link import Link
from bitnet_cli.emulation.pico import Pico, PicoPort
from bitnet_cli.errors import BitnetError
from bitnet_cli.measure import board_bench
from bitnet_cli.measure.validate import validate
from bitnet_cli.progress import silent
from support import toy
from support.patience import PATIENCE
from support.pico_boards import BOARD, firmware, model_line, stock_firmware

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

UNIT_FILES = ("lib/_bitnet.mpy", "lib/bitnet_board.py", "main.py")
PHRASES = ("set the kitchen to 21.5 degrees", "lights on", "is it warm?")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.bitnet"
    path.write_bytes(toy.model(seed=1))
    return path


@pytest.fixture(scope="module")
def port() -> Iterator[PicoPort]:
    """A Pico with nothing but our firmware."""
    with PicoPort(Pico({0: firmware()})) as running:
        yield running


def deploy_to(port: PicoPort, model: Path) -> Deployment:
    with Link(port.port, AGENT) as link:
        return deploy(link, BOARD, model, silent)


def test_a_clone_becomes_an_answering_unit(port: PicoPort, model: Path) -> None:
    assert deploy_to(port, model).written == (*UNIT_FILES, "flash")
    assert '"toy.bitnet"' in model_line(port.port)
    checks = validate(port.port, model, PHRASES)
    assert [check.difference for check in checks] == [None] * 3


def test_what_is_there_is_left_alone(port: PicoPort, model: Path) -> None:
    writes = []
    port.pico.on_flash_command(lambda: writes.append(1))
    done = deploy_to(port, model)
    assert done.written == () and done.there_already == (*UNIT_FILES, "flash")
    assert not writes


def test_another_model_writes_only_itself(port: PicoPort, tmp_path: Path) -> None:
    other = tmp_path / "other.bitnet"
    other.write_bytes(toy.model(seed=2))
    assert deploy_to(port, other).written == ("flash",)
    assert '"other.bitnet"' in model_line(port.port)


def test_without_a_config_the_unit_keeps_its_own(port: PicoPort, model: Path) -> None:
    config = UnitConfig({"FACTORY": {"+FALLBACK": (1, 300, 0)}})
    with Link(port.port, AGENT) as link:
        assert "lib/bitnet_config.py" in deploy(link, BOARD, model, silent, config).written
        assert deploy(link, BOARD, model, silent).written == ()
        assert b"(1, 300, 0)" in link.run("from bitnet_config import FACTORY; print(FACTORY)")
        link.ask("remove(['lib/bitnet_config.py'])")


def test_rules_are_those_of_the_model(port: PicoPort, model: Path, tmp_path: Path) -> None:
    find = "from bitnet.rules import Rules; print((Rules().match('Hello') or [None])[0])"
    for name in ("first", "second"):
        other = tmp_path / f"{name}.bitnet"
        other.write_bytes(model.read_bytes())
        other.with_suffix(".rules").write_text(f"{name}\t hello \n")
        assert f"models/{name}.rules" in deploy_to(port, other).written
        with Link(port.port, AGENT) as link:
            assert link.run(find) == f"{name}\r\n".encode()
    assert deploy_to(port, model).written == ("flash",)
    with Link(port.port, AGENT) as link:
        assert link.run(find) == b"None\r\n"


def test_mpremote_runs_the_service(port: PicoPort, model: Path) -> None:
    """As MicroPython's users expect: `mpremote run device/main.py`."""
    # A Ctrl-C that comes before main.py runs would stop only _boot.py.
    with AtClient(port.port, timeout=PATIENCE) as client:
        client.wait_until_ready(PATIENCE)
    command = [sys.executable, "-m", "mpremote", "connect", port.port, "run", "--no-follow", "device/main.py"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    with AtClient(port.port, timeout=PATIENCE) as client:
        client.wait_until_ready(PATIENCE)
        assert client.infer(PHRASES[0]).source == "model"


def test_a_connected_board_is_measured(port: PicoPort, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_bench, "_REPEATS", 2)
    time_phrase, ran_at = board_bench._time_phrase, []

    def time_and_ask(client: AtClient, phrase: str) -> board_bench.TimedPhrase:
        timed = time_phrase(client, phrase)
        ran_at.append(hertz_of(client))
        return timed

    monkeypatch.setattr(board_bench, "_time_phrase", time_and_ask)
    deploy_to(port, model)
    bench = board_bench.bench_port(port.port, BOARD, model, PHRASES, print)
    assert not bench.is_emulated and bench.heap_growth == 0 and bench.peak_heap < bench.heap
    assert [at.hertz for at in bench.frequencies] == [48_000_000, 125_000_000, 133_000_000]
    assert ran_at == [at.hertz for at in bench.frequencies for _ in PHRASES]
    assert all(len(phrase.milliseconds) == 2 for at in bench.frequencies for phrase in at.phrases)
    with AtClient(port.port, timeout=PATIENCE) as client:
        client.wait_until_ready(PATIENCE)
        assert hertz_of(client) == 125_000_000


def hertz_of(client: AtClient) -> int:
    (line,) = client.command("AT+DVFS").lines
    return int(line.removeprefix("+DVFS: ").split(",")[0])


def test_a_program_of_the_users_stays(port: PicoPort, model: Path) -> None:
    with Link(port.port, AGENT) as link:
        link.run("with open('main.py', 'w') as file: file.write('print(1)\\n')")
        done = deploy(link, BOARD, model, silent)
        assert done.kept == ("main.py",) and "main.py" not in done.written
        assert link.ask("first_line('main.py')") == "print(1)"
        link.ask("remove(['main.py'])")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "xtensawin"}, "name its board with --board"),
        ({"port": "esp32"}, "name its board with --board"),
    ],
)
def test_another_board_is_refused(port: PicoPort, model: Path, change: dict[str, str], message: str) -> None:
    refuses(port, replace(BOARD, **change), model, message)


def test_an_old_micropython_is_refused(port: PicoPort, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "OLDEST", (1, 99))
    refuses(port, BOARD, model, "the board runs MicroPython 1.25.0: install")


def test_a_model_that_is_too_large_is_refused(port: PicoPort, tmp_path: Path) -> None:
    large = tmp_path / "large.bitnet"
    large.write_bytes(toy.model(seed=1, intermediate_size=4096, hidden_size=1024, num_layers=1))
    refuses(port, BOARD, large, "and the board has 1,048,576 for models")


def test_a_full_file_system_is_refused(port: PicoPort, model: Path) -> None:
    with Link(port.port, AGENT) as link:
        link.ask("remove(['lib/_bitnet.mpy'])")
        fill = "with open('full', 'wb') as file:\n for _ in range(145): file.write(bytes(4096))"
        link.run(fill)
    refuses(port, BOARD, model, "remove something from it")
    with Link(port.port, AGENT) as link:
        link.ask("remove(['full'])")


def refuses(port: PicoPort, board: object, model: Path, message: str) -> None:
    """Before anything is written."""
    before = bytes(port.pico.flash)
    with Link(port.port, AGENT) as link, pytest.raises(BitnetError) as raised:
        deploy(link, board, model, silent)  # type: ignore[arg-type]
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert bytes(port.pico.flash) == before


def test_no_board_at_the_port() -> None:
    with pytest.raises(BitnetError, match="cannot open the port /dev/none"):
        Link("/dev/none", AGENT)


def test_stock_firmware_reads_the_model_from_raw_flash(tmp_path: Path, model: Path) -> None:
    with PicoPort(Pico({0: stock_firmware(tmp_path)})) as port:
        done = deploy_to(port, model)
        assert "flash" in done.written and "lib/bitnet/model.mpy" in done.written
        assert model_line(port.port).startswith('+MODEL: "flash"')
        region = read_board("rp2040_pico").flash.stock_model  # type: ignore[union-attr]
        data = model.read_bytes()
        assert region and bytes(port.pico.flash[region.start : region.start + len(data)]) == data
        assert [check.difference for check in validate(port.port, model, PHRASES)] == [None] * 3
