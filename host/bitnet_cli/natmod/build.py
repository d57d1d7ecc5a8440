"""Builds the native module `_bitnet` for each architecture, byte for byte the same everywhere.

The bytes depend on native/, on MicroPython's linker and on the compiler; nothing of the place or time of the
build gets in, because every build runs in a copy with the same relative paths.
"""

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .. import cache
from ..errors import BitnetError
from ..files import write_atomically
from ..paths import NATIVE
from ..progress import Progress, silent
from . import xtensa
from .debian import Suite
from .toolchain import Toolchain

ABI = "6.3"
XTENSA = "xtensawin"

_SOURCE_PACKAGE = "micropython=1.25.0+ds-1"
_SOURCE_SUITE = "trixie"
_SOURCE_TARBALL = "micropython_1.25.0+ds.orig.tar.xz"
_SOURCE_SHA256 = "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea"
_SOURCE_FOLDER = "micropython-1.25.0"


@dataclass(frozen=True)
class Architecture:
    """A MicroPython native architecture and where its compiler comes from."""

    prefix: str
    """What precedes "gcc" in the compiler's name."""
    package: str
    """Debian's package that has the compiler."""
    version: str = "12.2"
    """GCC's version for the committed module; another may choose other instructions."""


ARCHITECTURES = {
    "x64": Architecture("", "gcc"),
    "armv6m": Architecture("arm-none-eabi-", "gcc-arm-none-eabi"),
    "armv7emsp": Architecture("arm-none-eabi-", "gcc-arm-none-eabi"),
    "armv7emdp": Architecture("arm-none-eabi-", "gcc-arm-none-eabi"),
    "rv32imc": Architecture("riscv64-unknown-elf-", "gcc-riscv64-unknown-elf"),
    # Not from PATH: xtensa/toolchain.py finds it.
    XTENSA: Architecture("xtensa-lx106-elf-", "gcc-xtensa-lx106", "13.3"),
}


@dataclass(frozen=True)
class Built:
    """One module: its bytes, those of its machine code and constants, and what compiled it."""

    architecture: str
    module: bytes
    text_size: int
    compiler_version: str


def module_path(folder: Path, architecture: str) -> Path:
    """Return where a module lies under a natmod folder, as `mip` packages name it."""
    return folder / f"{architecture}_{ABI}" / "_bitnet.mpy"


def build_into(folder: Path, architectures: list[str], progress: Progress) -> list[Built]:
    """Build the modules and write each to its place under `folder`. Raises BitnetError."""
    for architecture in architectures:
        find_tools(architecture, progress)
    source = micropython_source(progress)
    modules = []
    for architecture in architectures:
        progress(f"compiling for {architecture}")
        built = build(architecture, source)
        write_atomically(module_path(folder, architecture), built.module)
        modules.append(built)
    return modules


def build(architecture: str, source: Path) -> Built:
    """Compile and link for one architecture against this MicroPython source. Raises BitnetError."""
    with tempfile.TemporaryDirectory(prefix="bitnet-build-") as folder:
        native = prepare(Path(folder), source)
        output = make(native, architecture, "all")
        module = (native / "mpy" / "_bitnet.mpy").read_bytes()
    return Built(architecture, module, text_size(output), find_tools(architecture).version())


def text_size(output: str) -> int:
    """Return bytes of machine code, from what `make all` printed. Raises BitnetError."""
    found = re.search(r"text size:\s*(\d+)", output)
    if found is None:
        raise BitnetError("MicroPython's linker told no text size; is MPY_DIR v1.25 or later?")
    return int(found[1])


def prepare(folder: Path, source: Path) -> Path:
    """Copy native/ beside MicroPython's source, for make() to work in; return the copy."""
    native = folder / "native"
    shutil.copytree(NATIVE, native, ignore=shutil.ignore_patterns("build", "*.mpy"))
    (folder / "micropython").symlink_to(source)
    return native


def make(native: Path, architecture: str, *targets: str) -> str:
    """Run mpy/Makefile in a prepared copy of native/; returns what it printed. Raises BitnetError."""
    toolchain = find_tools(architecture)
    command = [
        "make",
        f"--directory={native / 'mpy'}",
        f"ARCH={architecture}",
        f"CROSS={shlex.quote(toolchain.prefix)}",
        f"PYTHON={shlex.quote(sys.executable)}",
        "MPY_DIR=../../micropython",
        *targets,
    ]
    environment = _environment() | toolchain.environment
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if result.returncode != 0:
        raise BitnetError(f"the build for {architecture} failed:\n{(result.stdout + result.stderr)[-4000:]}")
    return result.stdout


def find_tools(architecture: str, progress: Progress = silent) -> Toolchain:
    """Find the compiler and its like; raises BitnetError with the package to install if one is missing."""
    if architecture not in ARCHITECTURES:
        raise BitnetError(f"unknown architecture {architecture}: it is one of {', '.join(ARCHITECTURES)}")
    if shutil.which("make") is None:
        raise BitnetError("make is not on PATH: install the Debian package make")
    missing = [name for name in ("elftools", "ar") if importlib.util.find_spec(name) is None]
    if missing:
        raise BitnetError(f"{', '.join(missing)} is not installed: pip install 'bitnet-cli[build]'")
    if architecture == XTENSA:
        return xtensa.find(progress)
    target = ARCHITECTURES[architecture]
    compiler = shutil.which(target.prefix + "gcc")
    if compiler is None:
        raise BitnetError(
            f"{target.prefix}gcc, the compiler for {architecture}, is not on PATH: "
            f"install the Debian package {target.package}"
        )
    return Toolchain(compiler.removesuffix("gcc"))


def _environment() -> dict[str, str]:
    """Return only what the tools need: make would take CFLAGS and the like from the user's environment."""
    kept = ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
    fixed = {"LC_ALL": "C", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: os.environ[name] for name in kept if name in os.environ} | fixed


# --- MicroPython's source ---


def micropython_source(progress: Progress) -> Path:
    """Return the source tree at MPY_DIR, or fetch Debian's into the cache, once. Raises BitnetError."""
    given = os.environ.get("MPY_DIR")
    if given:
        source = Path(given).expanduser().resolve()
        if not _is_source(source):
            raise BitnetError(
                f"MPY_DIR is {given}, which holds no py/dynruntime.mk: set it to MicroPython's source"
            )
        return source
    return cache.kept(_SOURCE_FOLDER, _is_source, lambda work: _fetch_source(work, progress))


def _is_source(folder: Path) -> bool:
    return (folder / "py" / "dynruntime.mk").is_file() and (folder / "tools" / "mpy_ld.py").is_file()


def _fetch_source(work: Path, progress: Progress) -> Path:
    progress(f"fetching MicroPython's source ({_SOURCE_PACKAGE} from Debian)")
    Suite(_SOURCE_SUITE, work, "set MPY_DIR to a source tree").source(_SOURCE_PACKAGE)
    tarball = work / _SOURCE_TARBALL
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != _SOURCE_SHA256:
        raise BitnetError(
            f"{tarball.name} has SHA-256 {digest} instead of {_SOURCE_SHA256}: set MPY_DIR instead"
        )
    with tarfile.open(tarball) as archive:
        # The filter came with Python 3.11.4; the contents are pinned either way.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(work / "unpacked")
    return work / "unpacked" / _SOURCE_FOLDER
