"""What a user said stays with the user, whatever commands are sent and whatever goes wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitnet_cli.boards.at import AtClient
from bitnet_cli.emulation.simulator import SimulatedBoard
from support.mosquitto import config_without_broker

CANARY = "xylophonequark"
COMMANDS = (
    'AT+INFER="turn the {canary} on"',
    'AT+INFER="{canary}",1',
    'AT+GEN="{canary}",3',
    'AT+CHAT="{canary}",3',
    'AT+CHAT="{canary}",3,"You are a {canary}."',
    'AT+FEAT="{canary}",1',
    'AT+MODEL="{canary}"',
    "AT+FALLBACK=7,1000",
    'AT+INFER="turn the {canary} on"',
    'AT+INFER="how {canary} is it"',
    "AT+{canary}",
    'AT+INFER="{canary}',
    "AT&W",
    "AT+LOG?",
    "AT+SELFTEST",
    "AT+SYNC",
)


def stored(model: Path, storage: Path, consent: int) -> bytes:
    """The flash of a unit with sync after all of the commands, with nobody at the broker's port."""
    with (
        SimulatedBoard(model, config=config_without_broker(), storage=storage) as board,
        AtClient(board.port) as client,
    ):
        assert client.command("AT+CMEE=2").ok
        assert client.command(f"AT+SYNC={consent}").ok
        for command in COMMANDS:
            client.command(command.format(canary=CANARY))
    return storage.read_bytes()


def test_without_consent_nothing_is_kept(random_model: Path, tmp_path: Path) -> None:
    flash = stored(random_model, tmp_path / "storage", 0)
    assert b'"kind":' in flash  # faults are
    assert CANARY.encode() not in flash


def test_a_withdrawal_is_kept_while_the_queue_fails(on_device: Callable[..., Any]) -> None:
    """Else consent would be back at the next start, and what could not be dropped would be sent."""
    assert on_device("withdrawal.py") == [[5, [0]]]


def test_with_consent_phrases_are(random_model: Path, tmp_path: Path) -> None:
    assert CANARY.encode() in stored(random_model, tmp_path / "storage", 1)
