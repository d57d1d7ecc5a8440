"""Emulated Picos for tests."""

import functools
from collections.abc import Mapping
from pathlib import Path

from bitnet_cli.at import AtClient
from bitnet_cli.board import read_board
from bitnet_cli.firmware import build_firmware, build_rp2
from bitnet_cli.pico import Pico
from littlefs import LittleFS

BOARD = read_board("rp2040_pico")
_BLOCK = 4096


class Console:
    """MicroPython's raw REPL on an emulated board."""

    def __init__(self, pico: Pico) -> None:
        self.pico = pico
        pico.wait_for_usb()
        pico.send(b"\x01")
        pico.wait_for(b"raw REPL; CTRL-B to exit\r\n>")

    def run(self, code: str) -> list[str]:
        """The lines it prints; fails with the traceback of an exception."""
        self.pico.send(code.encode() + b"\x04")
        self.pico.wait_for(b"OK")
        printed, error = self.pico.wait_for(b"\x04"), self.pico.wait_for(b"\x04>")
        assert error == b"\x04>", error.decode()
        return printed[:-1].decode().splitlines()


def filesystem(files: Mapping[str, bytes], size: int) -> bytes:
    """A littlefs of these files."""
    image = LittleFS(
        block_size=_BLOCK,
        block_count=size // _BLOCK,
        prog_size=256,
        read_size=32,
        cache_size=256,
        lookahead_size=32,
        disk_version=0x00020000,
    )
    for name, data in files.items():
        if "/" in name:
            image.makedirs(name.rpartition("/")[0], exist_ok=True)
        with image.open(name, "wb") as file:
            file.write(data)
    return bytes(image.context.buffer)


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


def quiet(stage: str, done: int, total: int) -> None:
    """A progress that shows nothing."""


def model_line(port: str) -> str:
    """What the started board says of its model."""
    with AtClient(port) as client:
        client.wait_for_model()
        (line,) = client.command("AT+MODEL?").lines
        return line
