"""Every board's folder describes it, and what is described badly is refused with one line."""

from dataclasses import replace
from pathlib import Path

import pytest
from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.board import read_board
from bitnet_cli.emulation.simulator import SIM, SimulatedBoard, infer_many
from bitnet_cli.errors import BitnetError
from bitnet_cli.model.modelfile import part_sizes
from bitnet_cli.natmod.build import ARCHITECTURES
from bitnet_cli.paths import BOARDS, STOCK_MODEL

GOOD = (BOARDS / "sim" / "board.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.parent.name for path in BOARDS.glob("*/board.toml")))
def test_every_board_is_described(name: str) -> None:
    board = read_board(name)
    assert board.name == name
    assert board.arch in ARCHITECTURES


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"in_place"', '"anywhere"', "memory.weights is 'anywhere': it is one of in_place, copied, streamed"),
        ("weights =", "wieghts =", "'memory.weights' is missing"),
        ("[memory]", "[memory", "Expected ']'"),
        ("[memory]", "[[memory]]", "is not a table"),
        ('["tcp"]', '["tcp", "wifi"]', "at.servers has 'wifi': they are tcp, ble"),
        ('["tcp"]', '"tcp"', "at.servers is 'tcp': it is a list"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "board.toml").write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BitnetError) as raised:
        read_board("mine", tmp_path)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_psram_on_pins(tmp_path: Path) -> None:
    board = read_board("rp2040_psram")
    assert b"PSRAM = {'size': 8388608, 'cs': 8, 'sck': 9, 'data': 10}\n" in board.config()
    text = (BOARDS / "rp2040_psram" / "board.toml").read_text(encoding="utf-8")
    (tmp_path / "rp2040_psram").mkdir()
    (tmp_path / "rp2040_psram" / "board.toml").write_text(
        text.replace("sck = 9 ", "sck = 7 "), encoding="utf-8"
    )
    with pytest.raises(BitnetError, match=r"psram\.sck is 7: it is the pin after psram\.cs, 9"):
        read_board("rp2040_psram", tmp_path)


POWER = """
[power]
picojoules_per_cycle = 750

[power.ina226]
i2c = 1
sda = 2
scl = 3
address = 0x40
shunt_milliohms = 100
max_milliamperes = 300
"""


def test_clock_and_power_are_written_onto_the_board(tmp_path: Path) -> None:
    config = read_board("rp2040_pico").config()
    assert b"CLOCK = (125000000, 48000000, 133000000)\n" in config
    assert b"POWER = {'picojoules_per_cycle': 750}\n" in config
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "board.toml").write_text(GOOD + POWER, encoding="utf-8")
    (line,) = (line for line in read_board("sim", tmp_path).config().splitlines() if b"POWER" in line)
    sensor = {"i2c": 1, "sda": 2, "scl": 3, "address": 64, "shunt_milliohms": 100, "max_milliamperes": 300}
    assert line.decode() == f"POWER = { ({'picojoules_per_cycle': 750} | sensor)!r}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("address = 0x40", "address = 0x50", "power.ina226.address is 0x50: it is 0x40 to 0x4f"),
        ("= 300", "= 820", "power.ina226.max_milliamperes is 820: with this shunt it is 1 to 819"),
        (
            "shunt_milliohms = 100",
            "shunt_milliohms = 0",
            "power.ina226.shunt_milliohms is 0: it is 1 or more",
        ),
        ("sda = 2", "sda = '2'", "power.ina226.sda is '2': it is a int"),
        ("scl = 3", "", "'power.ina226.scl' is missing"),
        ("= 750", "= -1", "power.picojoules_per_cycle is -1: it is not negative"),
        ("picojoules", "joules", "'power.joules_per_cycle' is not known"),
    ],
)
def test_a_badly_described_sensor_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "board.toml").write_text(GOOD + POWER.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BitnetError) as raised:
        read_board("sim", tmp_path)
    assert message in str(raised.value)


def test_a_board_that_is_not_there() -> None:
    with pytest.raises(BitnetError, match=r"the boards are .*sim"):
        read_board("none")


def free_heap(weights: str) -> int:
    """With the service running, in bytes."""
    with (
        SimulatedBoard(board=replace(SIM, heap="400k", weights=weights)) as board,
        AtClient(board.port) as at,
    ):
        (line,) = at.command("AT+STAT?").lines
        return int(line.removeprefix("+STAT: ").split(",")[0])


@pytest.mark.parametrize("weights", ["copied", "streamed"])
def test_the_memory_plan_decides_where_weights_are_read_from(weights: str) -> None:
    phrases = ["What's the temp?", "Set the kitchen to 21 degrees"]
    as_it_is = infer_many(STOCK_MODEL, phrases)
    planned = infer_many(STOCK_MODEL, phrases, replace(SIM, weights=weights))
    for one, other in zip(as_it_is, planned, strict=True):
        assert replace(one, latency_ms=0) == replace(other, latency_ms=0)
    parts = part_sizes(STOCK_MODEL.read_bytes())
    layers = parts["attention"] + parts["ffn"]
    assert free_heap("in_place") - free_heap(weights) > layers // 4
