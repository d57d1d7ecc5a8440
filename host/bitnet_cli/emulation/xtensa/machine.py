"""An emulated Xtensa processor that runs the core's functions and counts their instructions.

It is qemu-xtensa, of Debian's `qemu-user`, with a program for Linux (calls.c) that maps the core's code and
a heap, both shared with this process, and calls what it is told to call. A plugin of QEMU (count.c) counts.
QEMU moves register windows to and from the stack by itself. What that takes on a chip depends on how deep the
calls are nested, and is not in the counts.
"""

import mmap
import os
import re
import shutil
import struct
import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import BitnetError
from ...natmod.build import XTENSA, find_tools
from ..cores import Measured, Program

FOLDER = Path(__file__).parent
_CODE_SIZE = 0x40000
_HEAP, _HEAP_SIZE = 0x30000000, 16 << 20
_ARGUMENTS = 6
# From this QEMU on, plugins for the interface before are refused; what count.c uses of it is the same.
_NEW_PLUGINS_FROM = 9


def find_qemu() -> str:
    """Return the emulator's path; raises BitnetError if it is not installed."""
    found = shutil.which("qemu-xtensa")
    if found is None:
        raise BitnetError("qemu-xtensa is not on PATH: install the Debian package qemu-user")
    return found


def qemu_command(program: Path, *options: str) -> list[str]:
    """Return the command that runs a program of compile_guest()."""
    return [find_qemu(), "-cpu", "de233_fpu", *options, str(program)]


def compile_guest(output: Path, *arguments: str | Path) -> Path:
    """Compile a program for the emulator; `arguments` name a C file with guest_main(). Raises BitnetError."""
    flags = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-mlongcalls")
    options: list[str | Path] = [
        *(*flags, "-fno-tree-loop-distribute-patterns", "-nostdlib", "-static"),
        *(f"-I{FOLDER}", FOLDER / "start.S", FOLDER / "guest.c", *arguments),
        # All memory may be executed: a program may load code.
        *("-Wl,--omagic", "-o", output),
    ]
    find_tools(XTENSA).run("gcc", options, "compiling for the emulator")
    return output


def _plugin_version() -> int:
    """Return the plugin version this QEMU wants; raises BitnetError if it was built without plugins."""
    qemu = find_qemu()
    usage, version = (
        subprocess.run([qemu, option], capture_output=True, text=True, check=False).stdout
        for option in ("-help", "-version")
    )
    if "-plugin" not in usage:
        raise BitnetError(f"{qemu} takes no plugins, so it cannot count: use that of Debian 12's qemu-user")
    major = re.search(r"version (\d+)", version)
    return 2 if major and int(major[1]) >= _NEW_PLUGINS_FROM else 1


def _compile_plugin(output: Path) -> Path:
    flags = ("-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={_plugin_version()}")
    options: list[str | Path] = [*flags, FOLDER / "count.c", "-o", output]
    find_tools("x64").run("gcc", options, "compiling the plugin that counts")
    return output


class Memory:
    """Memory that is shared with the emulator through an unnamed file."""

    def __init__(self, size: int) -> None:
        self.file = os.memfd_create("xtensa")
        os.ftruncate(self.file, size)
        self.data = mmap.mmap(self.file, size)
        weakref.finalize(self, os.close, self.file)


class XtensaMachine:
    """An emulated Xtensa processor with the core in its memory, a machines.Machine.

    There are 16 MB of RAM, which allocate() gives out until reset().
    """

    def __init__(self, program: Program) -> None:
        ((self._start, code),) = program.segments
        assert len(code) <= _CODE_SIZE
        self._memory = Memory(_CODE_SIZE + _HEAP_SIZE)
        self._memory.data[: len(code)] = code
        self._counters = Memory(4 * _CODE_SIZE)
        self._functions = program.functions
        starts = sorted((address, name) for name, address in program.functions.items())
        self._starts, self._names = zip(*starts, strict=True)
        with tempfile.TemporaryDirectory(prefix="bitnet-xtensa-") as folder:
            self._process = self._begin(Path(folder))
        weakref.finalize(self, _end, self._process)
        self.reset()

    def _begin(self, folder: Path) -> subprocess.Popen[bytes]:
        guest = compile_guest(folder / "calls", FOLDER / "calls.c")
        plugin = _compile_plugin(folder / "count.so")
        counting = f"{plugin},counts={self._counters.file},start={self._start:#x},size={_CODE_SIZE:#x}"
        process = subprocess.Popen(
            qemu_command(guest, "-plugin", counting),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=(self._memory.file, self._counters.file),
        )
        regions = (self._start, _CODE_SIZE, 0, _HEAP, _HEAP_SIZE, _CODE_SIZE)
        _send(process, struct.pack("<i6I", self._memory.file, *regions))
        # When it answers, it has read the files of the folder.
        _call(process, self._functions["bn_bitlen"], 0)
        return process

    def reset(self) -> None:
        """Bring the memory back to how it was at the start."""
        self._memory.data[_CODE_SIZE:] = bytes(_HEAP_SIZE)
        self._next = _HEAP

    def allocate(self, data: bytes) -> int:
        """Copy data into RAM, at a multiple of 16; return its address."""
        address = self._next
        offset = _CODE_SIZE + address - _HEAP
        self._memory.data[offset : offset + len(data)] = data
        self._next += (len(data) + 15) & ~15
        return address

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes of memory."""
        offset = _CODE_SIZE + address - _HEAP
        return self._memory.data[offset : offset + size]

    def call(self, name: str, *arguments: int) -> int:
        """Run a function; returns its int."""
        return _call(self._process, self._functions[name], *arguments)

    def measure(self, name: str, *arguments: int) -> Measured:
        """Run a function and count its instructions."""
        self._counters.data[:] = bytes(4 * _CODE_SIZE)
        result = self.call(name, *arguments)
        counts = np.frombuffer(self._counters.data[:], "<u4").astype(np.int64)
        return Measured(result, int(counts.sum()), self._per_function(counts))

    def _per_function(self, counts: npt.NDArray[np.int64]) -> dict[str, int]:
        offsets = np.array(self._starts) - self._start
        sums = np.add.reduceat(counts, offsets)
        costs = {name: int(cost) for name, cost in zip(self._names, sums, strict=True) if cost}
        return dict(sorted(costs.items(), key=lambda item: -item[1]))


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin
    try:
        process.stdin.write(data)
    except BrokenPipeError as error:
        raise BitnetError("the emulated Xtensa stopped") from error


def _call(process: subprocess.Popen[bytes], function: int, *arguments: int) -> int:
    words = [argument & 0xFFFFFFFF for argument in arguments]
    words += [0] * (_ARGUMENTS - len(words))
    _send(process, struct.pack(f"<{1 + _ARGUMENTS}I", function, *words))
    assert process.stdout
    answer = process.stdout.read(4)
    if len(answer) < 4:
        raise BitnetError(f"the emulated Xtensa stopped in a call, with status {process.wait()}")
    return int.from_bytes(answer, "little", signed=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the program's input, at which it ends."""
    assert process.stdin and process.stdout
    process.stdin.close()
    process.wait()
    process.stdout.close()
