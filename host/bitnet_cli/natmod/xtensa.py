"""The compiler for `xtensawin`: Espressif's if it is on PATH, otherwise Debian's.

One module runs on ESP32, ESP32-S2 and ESP32-S3, so it is compiled for what they have in common, which is what
the S2 has. Debian's compiler is for the ESP8266 and learns about this processor from a plugin (config.c); GCC
has plugins of that kind from version 13 on, which is that of Debian 13.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

from .. import cache
from ..errors import BitnetError
from ..progress import Progress
from .debian import Suite
from .toolchain import Toolchain

_SUITE = "trixie"
_INSTEAD = "put Espressif's xtensa-esp-elf toolchain on PATH"
_PACKAGES = [
    "binutils-xtensa-lx106",
    "gcc-xtensa-lx106",
    "picolibc-xtensa-lx106-elf",
    # The libraries of these programs, which need not be those of the machine.
    "libc6",
    "libgcc-s1",
    "libgmp10",
    "libisl23",
    "libmpc3",
    "libmpfr6",
    "libstdc++6",
    "libzstd1",
    "zlib1g",
]
# What is used of the packages, below usr/.
_PREFIX = "bin/xtensa-lx106-elf-"
_COMPILER_FOLDER, _BINUTILS_FOLDER = "lib/gcc/xtensa-lx106-elf/*", "lib/xtensa-lx106-elf/bin"
_PROGRAMS = [
    *(_PREFIX + name for name in ("gcc", "ld", "objdump")),
    *(f"{_COMPILER_FOLDER}/{name}" for name in ("cc1", "collect2")),
    *(f"{_BINUTILS_FOLDER}/{name}" for name in ("as", "ld")),
]

# The tables of instructions, below QEMU's source; the release around them may be another.
_TABLES = "target/xtensa/core-de233_fpu/xtensa-modules.c.inc"
_TABLES_SHA256 = "70717c4060f356ad038def74241c4de76cbd57758edd19616ad449222a04d0a7"
_HEADERS = (
    "target/xtensa/xtensa-isa.h",
    "target/xtensa/xtensa-isa-internal.h",
    "include/hw/xtensa/xtensa-isa.h",
)
_CONFIG = Path(__file__).with_name("xtensa_config.c")


def find(progress: Progress) -> Toolchain:
    """Find Espressif's toolchain, or Debian's, fetched once into the user's cache. Raises BitnetError."""
    return _espressif() or _debian(progress)


def _espressif() -> Toolchain | None:
    compiler = shutil.which("xtensa-esp32s2-elf-gcc")
    if compiler:
        return Toolchain(compiler.removesuffix("gcc"))
    compiler = shutil.which("xtensa-esp-elf-gcc")
    if compiler:
        # The compiler of all chips, which takes the chip from a plugin as well.
        plugin = Path(compiler).resolve().parents[1] / "lib" / "xtensa_esp32s2.so"
        if not plugin.is_file():
            raise BitnetError(f"{compiler}: its {plugin.name} is missing: put xtensa-esp32s2-elf-gcc on PATH")
        return Toolchain(compiler.removesuffix("gcc"), {"XTENSA_GNU_CONFIG": str(plugin)})
    return None


# --- Debian's ---


def _debian(progress: Progress) -> Toolchain:
    root = cache.kept("xtensa-lx106-trixie", _is_toolchain, lambda work: _fetch_toolchain(work, progress))
    tables = cache.kept("xtensa-tables", _are_tables, lambda work: _fetch_tables(work, progress))
    digest = hashlib.sha256(_CONFIG.read_bytes()).hexdigest()
    plugin = cache.kept(f"xtensa-{digest[:16]}.so", Path.is_file, lambda work: _compile(tables, work))
    return Toolchain(str(root / "usr" / _PREFIX), {"XTENSA_GNU_CONFIG": str(plugin)})


def _is_toolchain(root: Path) -> bool:
    return all(any((root / "usr").glob(name)) for name in _PROGRAMS)


def _fetch_toolchain(work: Path, progress: Progress) -> Path:
    progress("fetching the compiler for Xtensa (gcc-xtensa-lx106 from Debian, 53 MB)")
    root = work / "root"
    Suite(_SUITE, work, _INSTEAD).unpack(_PACKAGES, root)
    for name in _PROGRAMS:
        programs = list((root / "usr").glob(name))
        if not programs:
            raise BitnetError(f"Debian's packages hold no {Path(name).name} for Xtensa: {_INSTEAD}")
        for program in programs:
            _use_own_libraries(program, root)
    return root


def _use_own_libraries(program: Path, root: Path) -> None:
    """Put a script in the program's place that runs it with the loader and the libraries of its own suite."""
    loader = next((root / "usr").glob("lib*/ld-linux*.so.*"))
    libraries = next((root / "usr" / "lib").glob("*/libc.so.6")).parent
    to_loader, to_libraries = (
        shlex.quote(os.path.relpath(path, program.parent)) for path in (loader, libraries)
    )
    program.rename(program.with_name(program.name + ".real"))
    program.write_text(
        "#!/bin/sh\n"
        "here=${0%/*}\n"
        f'exec "$here"/{to_loader} --library-path "$here"/{to_libraries} --argv0 "$0" "$0.real" "$@"\n'
    )
    program.chmod(0o755)


def _are_tables(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_TABLES, *_HEADERS))


def _fetch_tables(work: Path, progress: Progress) -> Path:
    progress("fetching the table of Xtensa's instructions (source of qemu from Debian, 40 MB)")
    Suite(_SUITE, work, _INSTEAD).source("qemu")
    tarball = next(work.glob("qemu_*.orig.tar.*"))
    tables = work / "tables"
    wanted = {_TABLES, *_HEADERS}
    with tarfile.open(tarball) as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            file = archive.extractfile(member) if name in wanted else None
            if file:
                (tables / name).parent.mkdir(parents=True, exist_ok=True)
                (tables / name).write_bytes(file.read())
                wanted.remove(name)
            if not wanted:
                break
    if wanted:
        raise BitnetError(f"Debian's source of qemu has no {wanted.pop()}: {_INSTEAD}")
    digest = hashlib.sha256((tables / _TABLES).read_bytes()).hexdigest()
    if digest != _TABLES_SHA256:
        raise BitnetError(f"{_TABLES} has SHA-256 {digest} instead of {_TABLES_SHA256}: {_INSTEAD}")
    return tables


def _compile(tables: Path, work: Path) -> Path:
    """Compile xtensa_config.c into the plugin that GCC and binutils load."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise BitnetError(f"gcc is not on PATH: install the Debian package gcc, or {_INSTEAD}")
    plugin = work / "config.so"
    command: list[str | Path] = [
        compiler,
        *("-O1", "-w", "-shared", "-fPIC"),
        *(f"-I{tables / folder}" for folder in ("target/xtensa", "include")),
        f'-DXTENSA_MODULES="{Path(_TABLES).relative_to("target/xtensa")}"',
        *(_CONFIG, "-o", plugin),
    ]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode != 0:
        raise BitnetError(f"compiling {_CONFIG.name} failed: {_INSTEAD}\n{result.stderr[-2000:]}")
    return plugin
