"""Every command through a pty, by clients that others have written."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from bitnet_cli.emulation.simulator import SimulatedBoard
from bitnet_cli.paths import DEVICE
from support import at_clients
from support.mosquitto import config_without_broker
from support.patience import PATIENCE

Ask = Callable[[str], tuple[str, str]]
"""ask(command) → (final result code, lines of information)."""

COMMANDS = {
    "AT": "",
    "AT&W": "",
    "ATZ": "",
    "AT&F": "",
    "ATE1": "",
    "ATE?": r"E: 1",
    "ATV1": "",
    "ATI": r"bitnet \d+\.\d+\.\d+\nmicropython .*",
    "AT+CMEE=1": "",
    "AT+CMEE?": r"\+CMEE: 1",
    "AT+CLAC": r"AT\nATE\n(AT.+\n)+AT\+AUTH",
    "AT+GMI": "bitnet-cli",
    "AT+GMM": ".+",
    "AT+GMR": r"\d+\.\d+\.\d+",
    "AT+GSN": "[0-9a-f]+",
    "AT+MODEL?": r'\+MODEL: "random.bitnet",.*',
    'AT+MODEL="/rom/random.bitnet"': "",
    "AT+CTX?": r"\+CTX: \d+,4",
    "AT+CTX=16,4": "",
    'AT+INFER="is it warm"': r'\+INFER: "\w+",\d+,".*","model",\d+,\d+,0',
    'AT+INFER="is it warm",60000': r'\+INFER: "\w+",\d+,".*","model",\d+,\d+,0',
    'AT+GEN="hello",3': r'(\+GEN: ".*"\n?){0,3}',
    'AT+CHAT="hello",2,"You are a lamp."': r'(\+CHAT: ".*"\n?){0,2}',
    'AT+CHAT="and now",2': r'(\+CHAT: ".*"\n?){0,2}',
    "AT+CHAT?": r"\+CHAT: 2,\d+",
    "AT+RESET": "",
    "AT+FALLBACK=3,300,500": "",
    "AT+FALLBACK?": r"\+FALLBACK: 3,300,500",
    "AT+FALLBACK=3": "",
    'AT+RULE=0,"light_on\\09 lamp "': "",
    "AT+RULE?": r'\+RULE: 1,"light_on\\09 lamp "',
    "AT+RULE=1": "",
    "AT+DVFS?": r'\+DVFS: "none",0',
    'AT+DVFS="none"': "",
    "AT+SYNC?": r"\+SYNC: 0",
    "AT+SYNC=0": "",
    "AT+STAT?": r'\+STAT: \d+,\d+,\d+,\d+,\d+,".*","power"',
    "AT+LOG?": r'(\+LOG: \d+,".*",".*"\n?)*',
    "AT+LOG": "",
    "AT+SELFTEST": r'(\+SELFTEST: "\w+","ok"\n?){4}',
    "AT+FILES?": r'(\+FILES: ".*",\d+\n?)+',
    'AT+FILES="read","profile.json"': r'(\+FILES: "[0-9a-f]+"\n?)+',
    'AT+FILES="delete","profile.json"': "",
}
"""Each command and what it answers before OK."""

REFUSED = {
    "AT+ENERGY?": "4",
    "AT+FEAT?": "4",
    'AT+FEAT="co2",400': "4",
    "AT+SYNC": "4",
    "AT+SYNC=1": "4",
    "AT+DVFS": "4",
    'AT+DVFS="fixed",48000000': "4",
    "AT+LORA": "4",
    "AT+AUTH?": "4",
    'AT+MODEL="/rom/none.bitnet"': "501",
    'AT+FILES="read","none"': "506",
    'AT+FILES="read","../main.py"': "3",
    'AT+RULE=0,"x\\09(a+)+"': "3",
    "AT+RULE=9": "3",
}
"""What this board has not, or refuses: the code of its +CME ERROR."""


@contextmanager
def open_client(kind: str, board: SimulatedBoard) -> Iterator[Ask]:
    with getattr(at_clients, kind)(board.port) as client:

        def by_pyatcommand(command: str) -> tuple[str, str]:
            response = client.send_command(command, timeout=PATIENCE)
            lines = [line for line in (response.info or "").replace("\r", "").split("\n") if line]
            return ("OK", "\n".join(lines)) if response.ok else ("\n".join(lines), "")

        def by_atlib(command: str) -> tuple[str, str]:
            response = client.command(command)
            return response.final, "\n".join(response.lines)

        yield by_pyatcommand if kind == "pyatcommand" else by_atlib


@pytest.fixture(scope="module", params=["pyatcommand", "atlib"])
def client_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def ask(client_kind: str, board: SimulatedBoard) -> Iterator[Ask]:
    with open_client(client_kind, board) as ask:
        yield ask


def test_every_command(ask: Ask) -> None:
    for command, expected in COMMANDS.items():
        final, lines = ask(command)
        assert final == "OK", (command, final)
        assert re.fullmatch(expected, lines), (command, lines)


def test_refusals(ask: Ask) -> None:
    assert ask("AT+CMEE=1")[0] == "OK"
    for command, code in REFUSED.items():
        final, _ = ask(command)
        assert final.strip() in (f"+CME ERROR: {code}", code), (command, final)
    assert ask("AT+CMEE=0")[0] == "OK"


def test_no_command_is_left_out(ask: Ask) -> None:
    _, lines = ask("AT+CLAC")
    tested = [re.match(r"AT(?:[+&][A-Z0-9]+|[A-Z]?)", command) for command in (*COMMANDS, *REFUSED)]
    assert set(lines.split("\n")) <= {match[0] for match in tested if match}


def test_sensor_features(client_kind: str) -> None:
    """Readings decide about the same question."""
    with (
        SimulatedBoard(DEVICE / "models" / "occupancy.bitnet") as board,
        open_client(client_kind, board) as ask,
    ):
        for light, expected in ((450_000, "occupied"), (0, "empty")):
            assert ask('AT+MODEL="/rom/occupancy.bitnet"')[0] == "OK"  # and no readings
            for reading in (f'"light",{light}', '"co2",700000', '"temperature",21000', '"humidity",27000'):
                assert ask(f"AT+FEAT={reading}")[0] == "OK"
            final, lines = ask("AT+FEAT?")
            assert final == "OK" and f'+FEAT: "light_mean_1min",{light},"light_mean_1min=' in lines
            assert f'+INFER: "{expected}",' in ask('AT+INFER="is anyone in the office?"')[1]
        assert ask('AT+FEAT="none",1')[0] != "OK"


def test_sync_without_a_broker(client_kind: str) -> None:
    with SimulatedBoard(config=config_without_broker()) as board, open_client(client_kind, board) as ask:
        assert ask("AT+SYNC=1")[0] == "OK"
        assert ask("AT+SYNC?") == ("OK", "+SYNC: 1")
        assert ask("AT+FALLBACK=7,1000")[0] == "OK"
        assert ask('AT+INFER="is it warm"')[0] == "OK"
        final, lines = ask("AT+SYNC")
        assert final == "OK" and re.fullmatch(r'\+SYNC: [1-9]\d*,0,0,".*"', lines)
        assert ask("AT+SYNC=0")[0] == "OK"
        assert ask("AT+SYNC?") == ("OK", "+SYNC: 0")
