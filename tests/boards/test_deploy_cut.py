"""A deployment that is cut at any write goes on where it was, and ends with the right hashes."""

from pathlib import Path

import pytest
from bitnet_cli.boards.deploy import AGENT, deploy, unit_files
from bitnet_cli.boards.link import Link, LinkError
from bitnet_cli.emulation.pico import Pico, PicoPort, PowerCutError
from bitnet_cli.progress import silent
from support import toy
from support.pico_boards import BOARD, firmware, model_line

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

_EVERY = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.bitnet"
    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_layers": 1, "num_heads": 1, "num_kv_heads": 1}
    path.write_bytes(toy.model(1, **tiny))
    return path


def deploy_to(port: PicoPort, model: Path) -> list[object]:
    """Returns the sums of the files on the board."""
    with Link(port.port, AGENT) as link:
        deploy(link, BOARD, model, silent)
        found: list[object] = link.ask(
            f"sums({[file.path for file in unit_files(BOARD, None, is_frozen=True)]!r})"
        )
        return found


def formatted() -> bytes:
    """The flash of a Pico that has started once."""
    pico = Pico({0: firmware()})
    with PicoPort(pico) as port:
        Link(port.port, AGENT).close()
    return bytes(pico.flash)


def test_every_tenth_write(model: Path) -> None:
    start = formatted()
    snapshots: list[bytes] = []
    pico = Pico({0: start})
    count = 0

    def before_write() -> None:
        nonlocal count
        count += 1
        if count % _EVERY == 0:
            snapshots.append(bytes(pico.flash))

    pico.on_flash_command(before_write)
    with PicoPort(pico) as port:
        expected = [file.sum for file in unit_files(BOARD, None, is_frozen=True)]
        assert deploy_to(port, model) == expected
    print(f"{count} writes, cut before each {_EVERY}th of them")
    assert len(snapshots) >= 15
    for snapshot in snapshots:
        with PicoPort(Pico({0: snapshot})) as port:
            assert deploy_to(port, model) == expected
            assert '"toy.bitnet"' in model_line(port.port)


def test_the_host_sees_the_cut_and_can_repeat(model: Path) -> None:
    pico = Pico({0: formatted()})
    left = 100

    def cut() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerCutError

    pico.on_flash_command(cut)
    with PicoPort(pico) as port, pytest.raises(LinkError, match="connect the board again and repeat"):
        deploy_to(port, model)
    with PicoPort(Pico({0: bytes(pico.flash)})) as port:
        deploy_to(port, model)
        assert '"toy.bitnet"' in model_line(port.port)
