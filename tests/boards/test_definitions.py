"""Every board's folder is a board definition of MicroPython's that says the same as its board.toml."""

import csv
import json
import re
from itertools import pairwise

import pytest
from bitnet_cli.boards.board import Board, board_names, read_board
from bitnet_cli.paths import BOARDS

NAMES = [name for name in board_names() if read_board(name).port != "unix"]
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


@pytest.fixture(params=NAMES)
def board(request: pytest.FixtureRequest) -> Board:
    return read_board(request.param)


def defines(board: Board) -> dict[str, str]:
    text = (BOARDS / board.name / "mpconfigboard.h").read_text(encoding="utf-8")
    return dict(re.findall(r"^#define (\w+)\s+(.+)$", text, re.MULTILINE))


def number(text: str) -> int:
    """Of a product in parentheses."""
    product = 1
    for factor in text.strip("()").split("*"):
        product *= int(factor)
    return product


def test_files(board: Board) -> None:
    folder = BOARDS / board.name
    description = json.loads((folder / "board.json").read_text(encoding="utf-8"))
    assert {"deploy", "features", "images", "mcu", "product", "url", "vendor"} <= description.keys()
    cmake = (folder / "mpconfigboard.cmake").read_text(encoding="utf-8")
    target = "PICO_PLATFORM" if board.port == "rp2" else "IDF_TARGET"
    assert re.search(rf'set\({target} "?{description["mcu"]}"?\)', cmake)
    assert "MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py" in cmake
    assert "device/manifest.py" in (folder / "manifest.py").read_text(encoding="utf-8")


def test_clock_psram_and_uart_are_there(board: Board) -> None:
    assert board.clock and board.flash and board.uart
    assert (board.psram is not None) == ("psram" in board.name or board.port == "esp32")


def test_flash_layout(board: Board) -> None:
    flash = board.flash
    assert flash is not None
    if board.port == "rp2":
        found = defines(board)
        assert number(found["MICROPY_HW_ROMFS_BYTES"]) == flash.romfs.size
        assert number(found["MICROPY_HW_FLASH_STORAGE_BYTES"]) == flash.filesystem.size
        # The port puts the ROMFS right below the file system, at the end of flash.
        assert flash.filesystem.end == flash.size and flash.romfs.end == flash.filesystem.start
        return
    text = (BOARDS / board.name / "partitions.csv").read_text(encoding="utf-8")
    rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    places = {row[0]: (int(row[3], 0), int(row[4], 0)) for row in rows}
    for name, region in (("factory", flash.firmware), ("romfs", flash.romfs), ("vfs", flash.filesystem)):
        assert places[name] == (region.start, region.size)
    ends = sorted(places.values())
    assert all(start + size <= after for (start, size), (after, _) in pairwise(ends))
    # Partitions with code start at a multiple of 64 KB, all others of 4 KB.
    assert places["factory"][0] % 0x10000 == 0 and not any(start % 0x1000 for start, _ in places.values())
