"""config.toml: what it may say, and one clear line for what it may not."""

import contextlib
from pathlib import Path

import pytest
from bitnet_cli.boards.board import read_board
from bitnet_cli.boards.config import DEFAULT, read_config
from bitnet_cli.cli import main
from bitnet_cli.errors import BitnetError

EVERYTHING = """
[fallback]
modes = ["rules", "sync"]
threshold = 300
deadline_ms = 500
[dvfs]
policy = "thermal"
celsius = 70
[sync]
broker = "mqtts://broker.example"
ca = "/lib/ca.der"
user = "plant"
password = "secret"
topic = "plant/units"
unit = "unit-7"
cap = "32k"
consent = true
[watchdog]
timeout_ms = 8000
[at]
tcp = 2323
ble = "bitnet-7"
"""


def constants(text: bytes) -> dict[str, object]:
    """What the module defines."""
    names: dict[str, object] = {}
    exec(text, names)
    del names["__builtins__"]
    return names


def test_everything(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(EVERYTHING)
    assert constants(read_config(path).module()) == {
        "SYNC": {
            "host": "broker.example",
            "port": 8883,
            "ca": "/lib/ca.der",
            "user": "plant",
            "password": "secret",
            "topic": "plant/units",
            "unit": "unit-7",
            "cap": 32768,
        },
        "WATCHDOG_MS": 8000,
        "TCP": 2323,
        "BLE": "bitnet-7",
        "FACTORY": {"+FALLBACK": (6, 300, 500), "+DVFS": ("thermal", 70), "+SYNC": (1,)},
    }


def test_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    assert read_config(path) == DEFAULT
    assert constants(DEFAULT.module()) == {}


def test_consent_is_off_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[sync]\nbroker = "mqtt://10.0.0.1:1884"\n')
    found = constants(read_config(path).module())
    assert found["FACTORY"] == {"+SYNC": (0,)}


def test_user_and_password_may_stand_in_the_address(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[sync]\nbroker = "mqtt://plant%40home:secret@10.0.0.1"\n')
    sync = constants(read_config(path).module())["SYNC"]
    assert isinstance(sync, dict)
    assert (sync["host"], sync["port"]) == ("10.0.0.1", 1883)
    assert (sync["user"], sync["password"]) == ("plant@home", "secret")


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("[fallback\n", "line 1", "Expected"),
        ("[falback]", "falback", "is not known"),
        ("fallback = 1", "[fallback]", "is not a table"),
        ("[fallback]\nmode = 1", "fallback.mode", "is not known"),
        ('[fallback]\nmodes = ["regex"]', "fallback.modes", "they are cached, rules, sync"),
        ('[fallback]\nmodes = [["cached"]]', "fallback.modes", "has ['cached']: they are"),
        ('[fallback]\nmodes = "cached"', "fallback.modes", "it is a list"),
        ("[fallback]\nthreshold = 1001", "fallback.threshold", "is 1001: it is 0 to 1000"),
        ('[fallback]\ndeadline_ms = "1"', "fallback.deadline_ms", "it is a int"),
        ('[dvfs]\npolicy = "fast"', "dvfs.policy", "it is one of fixed, deadline, thermal"),
        ('[dvfs]\npolicy = "fixed"', "dvfs.hertz", "is missing"),
        ('[dvfs]\npolicy = "fixed"\nhertz = 0', "dvfs.hertz", "is 0: it is 1 to"),
        ('[dvfs]\npolicy = "fixed"\nhertz = 1\ncelsius = 1', "dvfs.celsius", "is not known"),
        ("[sync]", "sync.broker", "is missing"),
        ('[sync]\nbroker = "http://x"', "sync.broker", "a broker is mqtt://host"),
        ('[sync]\nbroker = "mqtt://x:70000"', "sync.broker", "Port out of range"),
        ('[sync]\nbroker = "mqtt://x:port"', "sync.broker", "Port could not be cast"),
        ('[sync]\nbroker = "mqtt://x/topic"', "sync.broker", "nothing follows"),
        ('[sync]\nbroker = "mqtts://x"', "sync.ca", "goes with mqtts://"),
        ('[sync]\nbroker = "mqtt://x"\nca = "a"', "sync.ca", "goes with mqtts://"),
        ('[sync]\nbroker = "mqtt://me:pw@x"\nuser = "me"', "sync.user", "write them once"),
        ('[sync]\nbroker = "mqtt://me@x"\npassword = "pw"', "sync.password", "write them once"),
        ('[sync]\nbroker = "mqtt://x"\npassword = "pw"', "sync.password", "needs sync.user"),
        ('[sync]\nbroker = "mqtt://x"\ncap = 65536', "sync.cap", "it is a str"),
        ('[sync]\nbroker = "mqtt://x"\ncap = "64K"', "sync.cap", "such as 192k"),
        ('[sync]\nbroker = "mqtt://x"\ncap = "512"', "sync.cap", "is 512: it is 1024 bytes or more"),
        ("[watchdog]\ntimeout_ms = 9000", "watchdog.timeout_ms", "it is 1000 to 8388"),
        ("[at]\ntcp = 0", "at.tcp", "it is 1 to 65535"),
        ('[at]\nble = ""', "at.ble", "0 bytes: it has 1 to 26"),
        (f'[at]\nble = "{"ü" * 14}"', "at.ble", "28 bytes: it has 1 to 26"),
    ],
)
def test_refusals(tmp_path: Path, text: str, key: str, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(BitnetError, match=r"config\.toml") as refused:
        read_config(path)
    assert key in str(refused.value) and reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "board", "reason"),
    [
        ("[at]\ntcp = 2323", "rp2040_pico", "at.tcp: rp2040_pico cannot be reached by TCP"),
        ('[at]\nble = "unit"', "rp2040_pico", "at.ble: rp2040_pico cannot be reached by BLE"),
        ('[at]\nble = "unit"', "sim", "at.ble: sim cannot be reached by BLE"),
        ('[at]\ntcp = 2323\nble = "unit"', "esp32s3_n16r8", ""),
        ("[at]\ntcp = 2323", "sim", ""),
        (
            '[dvfs]\npolicy = "fixed"\nhertz = 1',
            "rp2040_pico",
            "dvfs.hertz is 1: on rp2040_pico it is 48000000",
        ),
        ('[dvfs]\npolicy = "fixed"\nhertz = 200_000_000', "rp2040_pico", "it is 48000000 to 133000000"),
        ('[dvfs]\npolicy = "fixed"\nhertz = 133_000_000', "rp2040_pico", ""),
        ('[dvfs]\npolicy = "deadline"\nmilliseconds = 1', "rp2040_pico", ""),
        ('[dvfs]\npolicy = "fixed"\nhertz = 1', "sim", ""),
        ("", "rp2040_pico", ""),
    ],
)
def test_what_a_board_cannot_do(tmp_path: Path, text: str, board: str, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    config = read_config(path)
    if not reason:
        config.check(read_board(board))
        return
    with pytest.raises(BitnetError) as refused:
        config.check(read_board(board))
    assert reason in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        ("sim", "--config"),
        ("build", "--board", "rp2040_pico", "--config"),
        ("deploy", "--board", "rp2040_pico", "--port", "loop://", "--config"),
    ],
)
def test_commands_refuse_it_first(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setattr("bitnet_cli.boards.link.Link", lambda *_: contextlib.nullcontext())
    path = tmp_path / "config.toml"
    path.write_text('[at]\nble = "unit"\n')
    assert main([*command, str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"bitnet-cli {command[0]}: at.ble: ") and err.count("\n") == 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BitnetError, match="cannot read"):
        read_config(tmp_path / "none.toml")
