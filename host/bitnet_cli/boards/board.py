"""What boards/<name>/board.toml says of a board, and what of it the board itself has to know."""

import re
import tomllib
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from ..errors import BitnetError
from ..paths import BOARDS

CONFIG_NAME = "bitnet_board.py"
"""The file on the board that the device package imports."""

_PLACEMENTS = ("in_place", "copied", "streamed")
_PORTS = ("unix", "rp2", "esp32")
_TRANSPORTS = ("stdio", "uart")
_SERVERS = ("tcp", "ble")
_PSRAM_KINDS = ("pio", "mapped")
_INA226_FULL_SCALE_UV = 81920
_UNITS = {"": 1, "k": 1 << 10, "M": 1 << 20}


@dataclass(frozen=True)
class Region:
    """A stretch of flash, in bytes from its beginning."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """Where the next region can begin."""
        return self.start + self.size


@dataclass(frozen=True)
class Clock:
    """Frequencies of the processor, in Hz."""

    default: int
    least: int
    most: int


@dataclass(frozen=True)
class Flash:
    """Which region of flash holds what, with our firmware and with MicroPython's own."""

    size: int
    firmware: Region
    romfs: Region
    filesystem: Region
    stock_filesystem: Region
    stock_model: Region | None
    """Where a model can lie that is read in place under MicroPython's own firmware, which has no ROMFS."""


@dataclass(frozen=True)
class Psram:
    """`mapped`: at an address, as RAM is. `pio`: behind pins, read with commands."""

    kind: str
    size: int
    pins: dict[str, int]
    """The pins of `pio`: cs; sck, the pin after it; and data, the first of four in a row."""


@dataclass(frozen=True)
class Uart:
    """The UART of AT commands."""

    number: int
    baudrate: int
    tx: int
    rx: int


@dataclass(frozen=True)
class Ina226:
    """A power sensor on I2C, through which the chip is supplied."""

    i2c: int
    sda: int
    scl: int
    address: int
    shunt_milliohms: int
    max_milliamperes: int


@dataclass(frozen=True)
class Power:
    """What is known about the energy that the board takes."""

    picojoules_per_cycle: int
    """What a cycle of the processor at work takes, from a data sheet; 0 if unknown."""
    ina226: Ina226 | None


@dataclass(frozen=True)
class Board:
    """A board's description."""

    name: str
    port: str
    """MicroPython's port: `rp2`, `esp32` or `unix`."""
    arch: str
    """MicroPython's name of the architecture, as in device/natmod."""
    heap: str
    """The size of MicroPython's heap, such as 192k."""
    weights: str
    """Where the weights are read from: `in_place`, `copied` to RAM at load, or `streamed`."""
    transport: str
    """The line of AT commands: `stdio`, which is where the REPL is, or `uart`."""
    servers: tuple[str, ...] = ()
    """Where clients can connect for AT commands, if a config.toml says so: `tcp`, `ble`."""
    uart: Uart | None = None
    clock: Clock | None = None
    flash: Flash | None = None
    psram: Psram | None = None
    power: Power | None = None

    def config(self) -> bytes:
        """Return the content of the file CONFIG_NAME on the board."""
        lines = [f"# Written by bitnet-cli, from board.toml of {self.name}.", f"WEIGHTS = {self.weights!r}"]
        if self.transport == "uart" and self.uart:
            lines.append(f"UART = {astuple(self.uart)!r}")
        if self.port == "rp2" and self.flash and self.flash.stock_model:
            region = self.flash.stock_model
            lines.append(f"MODEL_FLASH = {(region.start, region.size)!r}")
        if self.psram and self.psram.kind == "pio":
            lines.append(f"PSRAM = { ({'size': self.psram.size} | self.psram.pins)!r}")
        if self.clock:
            lines.append(f"CLOCK = {(self.clock.default, self.clock.least, self.clock.most)!r}")
        if self.power:
            lines.append(f"POWER = {_power_config(self.power)!r}")
        return "".join(line + "\n" for line in lines).encode()


def board_names(boards: Path = BOARDS) -> list[str]:
    """Return the folders with a board.toml."""
    return sorted(path.parent.name for path in boards.glob("*/board.toml"))


def read_board(name: str, boards: Path = BOARDS) -> Board:
    """Read the board of a folder under boards/. Raises BitnetError if it is missing or badly described."""
    path = boards / name / "board.toml"
    try:
        board = _board(Table(tomllib.loads(path.read_text(encoding="utf-8")), ""))
    except OSError as error:
        known = ", ".join(board_names(boards))
        raise BitnetError(f"cannot read {path}: {error.strerror}; the boards are {known}") from None
    except (ValueError, TypeError) as error:
        raise BitnetError(f"{path}: {error}") from None
    if board.name != name:
        raise BitnetError(f"{path}: name is {board.name!r}: it is the folder's, {name!r}")
    return board


class Table:
    """A table of the file whose keys are taken one by one; end() refuses what nobody took.

    Methods raise ValueError or TypeError with the path of the key.
    """

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise TypeError(f"[{name}] is not a table")
        self._values: dict[str, Any] = dict(values)
        self._name = name

    def path(self, key: str) -> str:
        """Return the key with the tables around it: `flash.size`."""
        return f"{self._name}.{key}" if self._name else key

    def take(self, key: str, kind: type) -> Any:
        """Take the value of a key, which must be there and of just this type."""
        if key not in self._values:
            raise ValueError(f"'{self.path(key)}' is missing")
        value = self._values.pop(key)
        if type(value) is not kind:
            raise TypeError(f"{self.path(key)} is {value!r}: it is a {kind.__name__}")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Take a text that is one of `choices`."""
        value: str = self.take(key, str)
        if value not in choices:
            raise ValueError(f"{self.path(key)} is {value!r}: it is one of {', '.join(choices)}")
        return value

    def size(self, key: str) -> int:
        """Take a size in bytes, written as "640k" or "2M"."""
        return parse_size(self.take(key, str), self.path(key))

    def region(self, key: str) -> Region:
        """Take a region of flash, written as [start, size]."""
        pair = self.take(key, list)
        if len(pair) != 2 or not all(type(part) is str for part in pair):
            raise TypeError(f'{self.path(key)} is {pair!r}: it is ["start", "size"]')
        return Region(*(parse_size(part, self.path(key)) for part in pair))

    def table(self, key: str) -> "Table | None":
        """Take a table inside this one; None if it is not there."""
        return Table(self._values.pop(key), self.path(key)) if key in self._values else None

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def end(self) -> None:
        """Refuse keys that were not taken."""
        if self._values:
            raise ValueError(f"'{self.path(next(iter(self._values)))}' is not known")


def parse_size(text: str, what: str = "the size") -> int:
    """Return the bytes that a text such as "192k" or "2M" means; raises ValueError."""
    match = re.fullmatch(r"(\d+)([kM]?)", text)
    if match is None:
        raise ValueError(f"{what} is {text!r}: it is a number of bytes such as 192k or 2M")
    return int(match[1]) * _UNITS[match[2]]


def _board(table: Table) -> Board:
    memory, at = table.table("memory"), table.table("at")
    if memory is None or at is None:
        raise ValueError(f"'{'memory' if memory is None else 'at'}' is missing")
    heap = memory.take("heap", str)
    parse_size(heap, "memory.heap")
    board = Board(
        name=table.take("name", str),
        port=table.choice("port", _PORTS),
        arch=table.take("arch", str),
        heap=heap,
        weights=memory.choice("weights", _PLACEMENTS),
        transport=at.choice("transport", _TRANSPORTS),
        servers=_servers(at),
        uart=_uart(at.table("uart")),
        clock=_clock(table.table("clock")),
        flash=_flash(table.table("flash")),
        psram=_psram(table.table("psram")),
        power=_power(table.table("power")),
    )
    for part in (table, memory, at):
        part.end()
    if board.transport == "uart" and board.uart is None:
        raise ValueError("'at.uart' is missing")
    return board


def _servers(at: Table) -> tuple[str, ...]:
    names = at.take("servers", list) if "servers" in at else []
    for name in names:
        if name not in _SERVERS:
            raise ValueError(f"{at.path('servers')} has {name!r}: they are {', '.join(_SERVERS)}")
    return tuple(names)


def _uart(table: Table | None) -> Uart | None:
    if table is None:
        return None
    uart = Uart(*(table.take(key, int) for key in ("number", "baudrate", "tx", "rx")))
    table.end()
    return uart


def _clock(table: Table | None) -> Clock | None:
    if table is None:
        return None
    clock = Clock(*(table.take(key, int) for key in ("default", "least", "most")))
    table.end()
    if not clock.least <= clock.default <= clock.most:
        raise ValueError(f"clock.default is {clock.default}: it lies between clock.least and clock.most")
    return clock


def _flash(table: Table | None) -> Flash | None:
    if table is None:
        return None
    stock = table.table("stock")
    if stock is None:
        raise ValueError("'flash.stock' is missing")
    model = stock.region("model") if "model" in stock else None
    flash = Flash(
        size=table.size("size"),
        firmware=table.region("firmware"),
        romfs=table.region("romfs"),
        filesystem=table.region("filesystem"),
        stock_filesystem=stock.region("filesystem"),
        stock_model=model,
    )
    table.end()
    stock.end()
    _check_layout(flash.size, flash.firmware, flash.romfs, flash.filesystem)
    _check_layout(flash.size, *filter(None, (model, flash.stock_filesystem)))
    return flash


def _check_layout(size: int, *regions: Region) -> None:
    end = 0
    for region in regions:
        if region.start < end or region.end > size:
            raise ValueError(f"flash: the region at {region.start:#x} overlaps another or the end of flash")
        end = region.end


def _psram(table: Table | None) -> Psram | None:
    if table is None:
        return None
    kind, size = table.choice("kind", _PSRAM_KINDS), table.size("size")
    pins = {key: table.take(key, int) for key in ("cs", "sck", "data")} if kind == "pio" else {}
    table.end()
    if pins and pins["sck"] != pins["cs"] + 1:
        raise ValueError(f"psram.sck is {pins['sck']}: it is the pin after psram.cs, {pins['cs'] + 1}")
    return Psram(kind, size, pins)


def _power(table: Table | None) -> Power | None:
    if table is None:
        return None
    picojoules = table.take("picojoules_per_cycle", int) if "picojoules_per_cycle" in table else 0
    power = Power(picojoules, _ina226(table.table("ina226")))
    table.end()
    if picojoules < 0:
        raise ValueError(f"power.picojoules_per_cycle is {picojoules}: it is not negative")
    return power


def _ina226(table: Table | None) -> Ina226 | None:
    if table is None:
        return None
    keys = ("i2c", "sda", "scl", "address", "shunt_milliohms", "max_milliamperes")
    sensor = Ina226(*(table.take(key, int) for key in keys))
    table.end()
    if not 0x40 <= sensor.address <= 0x4F:
        raise ValueError(f"power.ina226.address is {sensor.address:#x}: it is 0x40 to 0x4f")
    if sensor.shunt_milliohms < 1:
        raise ValueError(f"power.ina226.shunt_milliohms is {sensor.shunt_milliohms}: it is 1 or more")
    microvolts = sensor.shunt_milliohms * sensor.max_milliamperes
    if not 0 < microvolts <= _INA226_FULL_SCALE_UV:
        most = _INA226_FULL_SCALE_UV // sensor.shunt_milliohms
        raise ValueError(
            f"power.ina226.max_milliamperes is {sensor.max_milliamperes}: with this shunt it is 1 to {most}"
        )
    return sensor


def _power_config(power: Power) -> dict[str, int]:
    """Return POWER as the board has it: without the sensor's keys if there is no sensor."""
    return {"picojoules_per_cycle": power.picojoules_per_cycle} | (
        asdict(power.ina226) if power.ina226 else {}
    )
