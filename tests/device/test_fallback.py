"""Each fault, injected for real: what answers, and which reason is given."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.config import UnitConfig
from bitnet_cli.emulation import simulator
from bitnet_cli.emulation.simulator import SimulatedBoard
from bitnet_cli.paths import DEVICE

RULES = "by_rule\tlamp.*? on \n"


def faults(on_device: Callable[..., Any], fault: str, model: Path, heap: str = "2M") -> Any:
    return on_device("fallback.py", fault, model, heap=heap)


def test_a_damaged_model(on_device: Callable[..., Any], random_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.bitnet"
    damaged.write_bytes(random_model.read_bytes()[:-1])
    by_rule, nothing = faults(on_device, "absent", damaged)
    assert by_rule == ["rule", "model", "by_rule"]
    assert nothing[:2] == [None, "model"] and "bytes are missing" in nothing[2]


def test_no_model(on_device: Callable[..., Any], tmp_path: Path) -> None:
    by_rule, nothing = faults(on_device, "absent", tmp_path / "none.bitnet")
    assert by_rule == ["rule", "model", "by_rule"]
    assert nothing[:2] == [None, "model"]


def test_no_native_module_comes_before_no_model(tmp_path: Path) -> None:
    script = Path(__file__).parent / "scripts" / "fallback.py"
    command = [simulator.micropython(), str(script), "absent", str(tmp_path / "none.bitnet")]
    environment = {"MICROPYPATH": f"{DEVICE}:.frozen"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == '["rule", "native", "by_rule"]'
    assert "no native module" in done.stdout.splitlines()[1]


@pytest.mark.parametrize("fault", ["memory", "stack"])
def test_faults_while_the_model_runs(on_device: Callable[..., Any], random_model: Path, fault: str) -> None:
    """The model's last answer to the same phrase, and afterwards the model as ever."""
    first, fallen, after = faults(on_device, fault, random_model, "256k")
    assert first[:2] == ["model", ""]
    assert fallen == ["cache", fault, first[2]]
    assert after == first


def test_a_deadline(on_device: Callable[..., Any], large_model: Path) -> None:
    first, by_rule, nothing, after = faults(on_device, "deadline", large_model)
    assert by_rule == ["rule", "deadline", "by_rule"]
    assert nothing == [None, "deadline", "the deadline has passed"]
    assert after == first


def test_an_unsure_model(on_device: Callable[..., Any], random_model: Path) -> None:
    """The cache comes before the rules; where neither answers, what the model said stands."""
    first, cached, by_rule, unsure, _ = faults(on_device, "confidence", random_model)
    assert cached == ["cache", "confidence", first[2]]
    assert by_rule == ["rule", "confidence", "by_rule"]
    assert unsure[:2] == ["model", "confidence"]


def test_rules_answer_over_at_when_the_model_is_damaged(random_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.bitnet"
    damaged.write_bytes(random_model.read_bytes()[:-1])
    with SimulatedBoard(damaged) as board, AtClient(board.port) as client:
        assert board.fault
        assert client.command('AT+RULE=0,"by_rule\\09lamp.*? on "').ok
        answer = client.infer("Turn the lamp in the hall on")
        assert (answer.intent, answer.source) == ("by_rule", "rule")
        assert client.command("AT+CMEE=1").ok
        assert client.command("AT+FALLBACK=1").ok
        assert client.command('AT+INFER="Turn the lamp in the hall on"').final == "+CME ERROR: 501"
        assert '"model","power"' in client.command("AT+STAT?").lines[0]


def test_modes_are_configured(random_model: Path, tmp_path: Path) -> None:
    """config.toml's choice is what AT&F brings back."""
    config = UnitConfig({"FACTORY": {"+FALLBACK": (2, 250, 900)}})
    with SimulatedBoard(random_model, config=config) as board, AtClient(board.port) as client:
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 2,250,900",)
        assert client.command("AT+FALLBACK=0").ok
        assert client.command("AT&F").ok
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 2,250,900",)
