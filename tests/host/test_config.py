"""config.toml: what it may say, and one clear line for what it may not."""

from pathlib import Path

import pytest
from bitnet_cli.config import DEFAULT, read_config
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[fallback", "Expected"),
        ("[falback]", "'falback' is not known"),
        ("[fallback]\nmode = 1", "'fallback.mode' is not known"),
        ('[fallback]\nmodes = ["regex"]', "they are cached, rules, sync"),
        ("[fallback]\nthreshold = 1001", "fallback.threshold is 1001: it is 0 to 1000"),
        ('[fallback]\ndeadline_ms = "1"', "it is a int"),
        ('[dvfs]\npolicy = "fast"', "it is one of fixed, deadline, thermal"),
        ('[dvfs]\npolicy = "fixed"', "'dvfs.hertz' is missing"),
        ("[sync]", "'sync.broker' is missing"),
        ('[sync]\nbroker = "http://x"', "it is mqtt://host"),
        ('[sync]\nbroker = "mqtts://x"', "goes with mqtts://"),
        ('[sync]\nbroker = "mqtt://x"\nca = "a"', "goes with mqtts://"),
        ("[watchdog]\ntimeout_ms = 9000", "it is 1000 to 8388"),
        ("[at]\ntcp = 0", "it is 1 to 65535"),
    ],
)
def test_refusals(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(BitnetError, match=r"config\.toml") as refused:
        read_config(path)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BitnetError, match="cannot read"):
        read_config(tmp_path / "none.toml")
