"""config.toml: what a unit is to do besides answering, which deploy.py writes to it as bitnet_config.py."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..cloud.broker import Broker, parse_broker
from ..errors import BitnetError
from ..files import read_file
from .board import Board, Table

FILE = "bitnet_config.py"
"""The name of the module on the unit."""

_MODES = {"cached": 1, "rules": 2, "sync": 4}
_POLICIES = {"fixed": "hertz", "deadline": "milliseconds", "thermal": "celsius"}
_SERVERS = {"tcp": "TCP", "ble": "BLE"}
_WATCHDOG_MOST_MS = 8388
_QUEUE_LEAST = 1024  # bytes, as in device/bitnet/cloud/queue.py
_BLE_NAME_MOST = 26  # bytes of an advertisement


@dataclass(frozen=True)
class UnitConfig:
    """Constants of bitnet_config.py by their names; what is not there is the device's default."""

    constants: dict[str, Any] = field(default_factory=dict)

    def module(self) -> bytes:
        """Return the content of FILE."""
        lines = [f"{name} = {value!r}\n" for name, value in self.constants.items()]
        return "".join(["# Written by bitnet-cli, from config.toml.\n", *lines]).encode()

    def check(self, board: Board) -> None:
        """Raise BitnetError with the key of what a board cannot do."""
        for server, name in _SERVERS.items():
            if name in self.constants and server not in board.servers:
                raise BitnetError(
                    f"at.{server}: {board.name} cannot be reached by {name}: leave it out, or use a "
                    "board that can (`at.servers` of its board.toml)"
                )
        policy, value = self.constants.get("FACTORY", {}).get("+DVFS", ("", 0))
        clock = board.clock
        if policy == "fixed" and clock and not clock.least <= value <= clock.most:
            raise BitnetError(f"dvfs.hertz is {value}: on {board.name} it is {clock.least} to {clock.most}")


DEFAULT = UnitConfig()


def read_config(path: Path) -> UnitConfig:
    """Read a config.toml. Raises BitnetError with the key of what is wrong in it."""
    try:
        table = Table(tomllib.loads(read_file(path).decode()), "")
        constants = _constants(table)
        table.end()
    except (ValueError, TypeError) as error:
        raise BitnetError(f"{path}: {error}") from None
    return UnitConfig(constants)


def _constants(table: Table) -> dict[str, Any]:
    constants: dict[str, Any] = {}
    factory: dict[str, tuple[Any, ...]] = {}
    if fallback := table.table("fallback"):
        factory["+FALLBACK"] = _fallback(fallback)
    if dvfs := table.table("dvfs"):
        factory["+DVFS"] = _dvfs(dvfs)
    if sync := table.table("sync"):
        constants["SYNC"] = _sync(sync)
        factory["+SYNC"] = (int(_optional(sync, "consent", False)),)
        sync.end()
    if watchdog := table.table("watchdog"):
        constants["WATCHDOG_MS"] = _within(watchdog, "timeout_ms", 1000, _WATCHDOG_MOST_MS)
        watchdog.end()
    if at := table.table("at"):
        if "tcp" in at:
            constants["TCP"] = _within(at, "tcp", 1, 65535)
        if "ble" in at:
            constants["BLE"] = _ble_name(at)
        at.end()
    if factory:
        constants["FACTORY"] = factory
    return constants


def _fallback(table: Table) -> tuple[int, int, int]:
    modes = 0
    for mode in _optional(table, "modes", ["cached", "rules"]):
        if not isinstance(mode, str) or mode not in _MODES:
            raise ValueError(f"fallback.modes has {mode!r}: they are {', '.join(_MODES)}")
        modes |= _MODES[mode]
    threshold = _within(table, "threshold", 0, 1000, 0)
    deadline = _within(table, "deadline_ms", 0, 60000, 0)
    table.end()
    return modes, threshold, deadline


def _dvfs(table: Table) -> tuple[str, int]:
    policy = table.choice("policy", tuple(_POLICIES))
    value = _within(table, _POLICIES[policy], 1, 999_999_999)
    table.end()
    return policy, value


def _ble_name(at: Table) -> str:
    name: str = at.take("ble", str)
    size = len(name.encode())
    if not 1 <= size <= _BLE_NAME_MOST:
        raise ValueError(f"at.ble is {name!r}, {size} bytes: it has 1 to {_BLE_NAME_MOST}")
    return name


def _cap(sync: Table) -> int:
    cap = sync.size("cap")
    if cap < _QUEUE_LEAST:
        raise ValueError(f"sync.cap is {cap}: it is {_QUEUE_LEAST} bytes or more")
    return cap


def _sync(table: Table) -> dict[str, Any]:
    broker = _broker(table)
    ca = _optional(table, "ca", "")
    if bool(ca) != broker.tls:
        raise ValueError("sync.ca, the certificate of the broker's authority on the unit, goes with mqtts://")
    return {
        "host": broker.host,
        "port": broker.port,
        "ca": ca or None,
        "user": broker.user,
        "password": broker.password,
        "topic": _optional(table, "topic", "") or None,
        "unit": _optional(table, "unit", ""),
        "cap": _cap(table) if "cap" in table else 65536,
    }


def _broker(table: Table) -> Broker:
    """Return sync.broker, with sync.user and sync.password, which may stand in its address instead."""
    try:
        broker = parse_broker(table.take("broker", str))
    except BitnetError as error:
        raise ValueError(f"sync.broker: {error}") from None
    user, password = _optional(table, "user", ""), _optional(table, "password", "")
    if not user and not password:
        return broker
    if broker.user:
        raise ValueError("sync.user and sync.password stand in sync.broker already: write them once")
    if not user:
        raise ValueError("sync.password needs sync.user: a broker takes one only with the other")
    return replace(broker, user=user, password=password or None)


def _optional(table: Table, key: str, default: Any) -> Any:
    return table.take(key, type(default)) if key in table else default


def _within(table: Table, key: str, low: int, high: int, default: int | None = None) -> int:
    if key not in table and default is not None:
        return default
    value: int = table.take(key, int)
    if not low <= value <= high:
        raise ValueError(f"{table.path(key)} is {value}: it is {low} to {high}")
    return value
