"""Emulated Picos for tests."""

import functools
from pathlib import Path

from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.board import read_board
from bitnet_cli.boards.firmware import build_firmware, build_rp2

from .patience import PATIENCE

BOARD = read_board("rp2040_pico")


@functools.cache
def firmware() -> bytes:
    """Ours."""
    return build_firmware(BOARD, print).binary


def stock_firmware(folder: Path) -> bytes:
    """MicroPython's own for the Pico, but for what its source in Debian leaves out."""
    board = folder / "RPI_PICO"
    board.mkdir()
    (board / "mpconfigboard.h").write_text(
        '#define MICROPY_HW_BOARD_NAME "Raspberry Pi Pico"\n'
        "#define MICROPY_HW_FLASH_STORAGE_BYTES (1408 * 1024)\n"
    )
    (board / "mpconfigboard.cmake").write_text(
        'set(PICO_BOARD "pico")\nset(PICO_PLATFORM "rp2040")\n'
        "set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)\n"
    )
    (board / "manifest.py").write_text(
        'freeze("$(PORT_DIR)/modules")\ninclude("$(MPY_DIR)/extmod/asyncio")\n'
    )
    (board / "pins.csv").write_text("LED,GPIO25\n")
    return build_rp2(board, print).binary


def model_line(port: str) -> str:
    """What the started board says of its model."""
    with AtClient(port, timeout=PATIENCE) as client:
        client.wait_for_model(PATIENCE)
        (line,) = client.command("AT+MODEL?").lines
        return line
