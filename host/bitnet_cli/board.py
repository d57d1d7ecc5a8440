"""What boards/<name>/board.toml says of a board, and what of it the board itself has to know."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from .errors import BitnetError
from .paths import BOARDS

CONFIG_NAME = "bitnet_board.py"
"""The file on the board that bitnet.load() imports."""

_PLACEMENTS = ("in_place", "copied", "streamed")


@dataclass(frozen=True)
class Board:
    """A board's description."""

    name: str
    arch: str
    """MicroPython's name of the architecture, as in device/natmod."""
    heap: str
    """What MicroPython has for objects, such as 192k."""
    weights: str
    """Where the weights are read from: `in_place`, `copied` to RAM at load, or `streamed`."""

    def config(self) -> bytes:
        """The content of the file CONFIG_NAME on the board."""
        return (
            f"# Written by bitnet-cli, from board.toml of {self.name}.\nWEIGHTS = {self.weights!r}\n".encode()
        )


def read_board(name: str, boards: Path = BOARDS) -> Board:
    """The board of a folder under boards/. Raises BitnetError if there is none or it is badly described."""
    path = boards / name / "board.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        memory = table["memory"]
        board = Board(table["name"], table["arch"], memory["heap"], memory["weights"])
    except OSError as error:
        known = ", ".join(sorted(p.parent.name for p in boards.glob("*/board.toml")))
        raise BitnetError(f"cannot read {path}: {error.strerror}; the boards are {known}") from None
    except (ValueError, TypeError) as error:
        raise BitnetError(f"{path}: {error}") from None
    except KeyError as error:
        raise BitnetError(f"{path}: {error} is missing") from None
    if board.weights not in _PLACEMENTS:
        raise BitnetError(f"{path}: weights is {board.weights!r}: it is one of {', '.join(_PLACEMENTS)}")
    return board
