"""MicroPython firmware for a board of ours, from MicroPython's source and the chip maker's.

For rp2 the Pico SDK comes from PICO_SDK_PATH or Debian. ESP32 needs Espressif's ESP-IDF, at IDF_PATH, and a
whole MicroPython source tree, at MPY_DIR.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import cache
from ..errors import BitnetError
from ..natmod.build import micropython_source
from ..natmod.debian import Suite
from ..paths import BOARDS, DEVICE
from ..progress import Progress
from .board import Board

_SDK_FOLDER = "pico-sdk-2.1.1"
_SDK_PACKAGES = ["pico-sdk-source=2.1.1-1", "tinyusb-source=0.18.0+dfsg-1"]
_SDK_SUITE = "trixie"
_CROSS_COMPILER = "arm-none-eabi-gcc"
_UF2_FAMILIES = {"rp2040": "0xe48bff56", "rp2350": "0xe48bff59"}
_FLASH_ADDRESS = "0x10000000"
_RELEASED = "1744761600"  # MicroPython 1.25's day: the time of the build must not get into the firmware


@dataclass(frozen=True)
class Firmware:
    """What is flashed: `binary` at the beginning of flash, `uf2` the same for the boot loader's USB drive."""

    binary: bytes
    uf2: bytes | None


def build_firmware(board: Board, progress: Progress) -> Firmware:
    """Build the firmware for a board, once for the same sources and compiler. Raises BitnetError."""
    if board.port == "rp2":
        return build_rp2(BOARDS / board.name, progress)
    if board.port == "esp32":
        return _build_esp32(board, progress)
    raise BitnetError(f"{board.name} runs MicroPython's {board.port} port: there is no firmware to build")


# --- rp2 ---


def build_rp2(board: Path, progress: Progress) -> Firmware:
    """Build the firmware for a folder with one of MicroPython's board definitions. Raises BitnetError."""
    for tool, package in (("cmake", "cmake"), ("make", "make"), (_CROSS_COMPILER, "gcc-arm-none-eabi")):
        _require(tool, package)
    source = _rp2_source(progress)
    folder = cache.kept(
        f"firmware-{board.name}-{_digest(board, source)}",
        lambda place: (place / "firmware.uf2").is_file(),
        lambda work: _make_rp2(board, source, work, progress),
    )
    return Firmware((folder / "firmware.bin").read_bytes(), (folder / "firmware.uf2").read_bytes())


def _require(tool: str, package: str) -> None:
    if shutil.which(tool) is None:
        raise BitnetError(f"{tool} is not on PATH: install the Debian package {package}")


def _digest(board: Path, source: Path) -> str:
    """Return a digest of everything that decides the firmware's bytes."""
    digest = hashlib.sha256(f"{source} {_compiler_version()}".encode())
    for folder in (board, DEVICE / "bitnet"):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(folder.parent)}\0".encode() + path.read_bytes())
    digest.update((DEVICE / "manifest.py").read_bytes() + Path(__file__).read_bytes())
    return digest.hexdigest()[:16]


def _compiler_version() -> str:
    return _run([_CROSS_COMPILER, "-dumpfullversion"], "asking the compiler for its version").strip()


def _make_rp2(board: Path, source: Path, work: Path, progress: Progress) -> Path:
    """Build in a folder; returns the one with firmware.bin and firmware.uf2."""
    progress(f"building MicroPython for {board.name} (about a minute)")
    stage, output = _stage(board, work), work / "build"
    configure: list[str | Path] = [
        "cmake",
        *("-S", source / "ports" / "rp2", "-B", output),
        f"-DMICROPY_BOARD={board.name}",
        f"-DMICROPY_BOARD_DIR={stage / 'boards' / board.name}",
        "-DPICO_NO_PICOTOOL=1",
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]
    _run(configure, f"configuring the firmware for {board.name}", _without_libstdcxx(work))
    _run(["make", f"-j{os.cpu_count() or 1}", "-C", output], f"building the firmware for {board.name}")
    made = work / "made"
    made.mkdir()
    shutil.copy(output / "firmware.bin", made)
    mcu = "rp2350" if "rp2350" in (board / "mpconfigboard.cmake").read_text() else "rp2040"
    convert: list[str | Path] = [sys.executable, source / "tools" / "uf2conv.py", "-b", _FLASH_ADDRESS]
    convert += ["-f", _UF2_FAMILIES[mcu], "-c", "-o", made / "firmware.uf2", made / "firmware.bin"]
    _run(convert, "converting the firmware to UF2")
    return made


def _stage(board: Path, work: Path) -> Path:
    """Copy a board's folder, with device/ where its manifest looks for it: in a wheel it lies elsewhere."""
    stage = work / "stage"
    ignored = shutil.ignore_patterns("__pycache__", "natmod", "models")
    shutil.copytree(board, stage / "boards" / board.name, ignore=ignored)
    shutil.copytree(DEVICE, stage / "device", ignore=ignored)
    return stage


def _without_libstdcxx(work: Path) -> dict[str, str]:
    """Return variables for CMake that spare half a gigabyte of C++ library, none of which is used."""
    libraries = work / "libraries"
    libraries.mkdir()
    _run(["arm-none-eabi-ar", "rc", libraries / "libstdc++.a"], "making an empty library")
    return {"CXXFLAGS": "-DPICO_CXX_DISABLE_ALLOCATION_OVERRIDES=1", "LDFLAGS": f"-L{libraries}"}


def _rp2_source(progress: Progress) -> Path:
    """Return a MicroPython source tree with the Pico SDK that does not need what Debian leaves out."""
    source = micropython_source(progress)
    if _has_sdk(source) and not os.environ.get("PICO_SDK_PATH"):
        return source
    sdk = _sdk(progress)
    name = f"{source.name}-rp2-{hashlib.sha256(f'{source} {sdk}'.encode()).hexdigest()[:8]}"
    return cache.kept(name, _has_sdk, lambda work: _prepare_rp2(source, sdk, work / name))


def _has_sdk(source: Path) -> bool:
    return all((source / "lib" / name).is_file() for name in _MARKERS)


_MARKERS = ("pico-sdk/pico_sdk_init.cmake", "tinyusb/src/tusb.h")


def _sdk(progress: Progress) -> Path:
    """Return the folder with pico-sdk and tinyusb."""
    given = os.environ.get("PICO_SDK_PATH")
    if given:
        sdk = Path(given).expanduser().resolve()
        if not (sdk / "pico_sdk_init.cmake").is_file():
            raise BitnetError(
                f"PICO_SDK_PATH is {given}, which holds no pico_sdk_init.cmake: set it to the SDK"
            )
        return sdk
    return cache.kept(_SDK_FOLDER, _is_sdk, lambda work: _fetch_sdk(work, progress)) / "pico-sdk"


def _is_sdk(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _MARKERS)


def _fetch_sdk(work: Path, progress: Progress) -> Path:
    progress("fetching the Pico SDK and TinyUSB (from Debian)")
    root = work / "root"
    Suite(_SDK_SUITE, work, "set PICO_SDK_PATH to the Pico SDK").unpack(_SDK_PACKAGES, root)
    return root / "usr" / "src"


def _prepare_rp2(source: Path, sdk: Path, tree: Path) -> Path:
    """Return a copy of a source tree with the SDK in its place."""
    shutil.copytree(source, tree, symlinks=True)
    tinyusb = (
        sdk / "lib" / "tinyusb" if (sdk / "lib/tinyusb/src/tusb.h").is_file() else sdk.parent / "tinyusb"
    )
    for place, target in (("pico-sdk", sdk), ("tinyusb", tinyusb)):
        link = tree / "lib" / place
        if link.is_dir():
            shutil.rmtree(link)
        link.symlink_to(target)
    (tree / "lib" / "micropython-lib" / "README.md").touch()  # what the build looks for before it fetches
    if not any((tree / "lib" / "mbedtls").iterdir()):
        _do_without_mbedtls(tree / "ports" / "rp2")
    return tree


def _do_without_mbedtls(port: Path) -> None:
    """Build without mbedTLS, which Debian's source lacks: such firmware has no TLS and no AES."""
    _edit(
        port / "CMakeLists.txt",
        ("set(MICROPY_SSL_MBEDTLS ON)", "set(MICROPY_SSL_MBEDTLS OFF)"),
        ("list(APPEND GIT_SUBMODULES lib/mbedtls)", ""),
        ("    mbedtls/mbedtls_port.c\n", ""),
        ("target_link_libraries(${MICROPY_TARGET} micropy_lib_mbedtls)", ""),
    )
    _edit(
        port / "mpconfigport.h",
        *(
            (f"#define {name} (1)", f"#define {name} (0)")
            for name in (
                "MICROPY_SSL_MBEDTLS",
                "MICROPY_PY_SSL",
                "MICROPY_PY_CRYPTOLIB",
                "MICROPY_PY_HASHLIB_SHA1",
            )
        ),
    )


def _edit(path: Path, *replacements: tuple[str, str]) -> None:
    """Replace each text, whatever number of blanks are in it; raises BitnetError if it is not there."""
    lines = path.read_text(encoding="utf-8")
    for old, new in replacements:
        found = next((line for line in lines.splitlines(keepends=True) if _matches(line, old)), None)
        if found is None:
            raise BitnetError(f"{path} has no {old.strip()!r}: is MPY_DIR MicroPython 1.25?")
        lines = lines.replace(found, new + "\n" if new else "", 1)
    path.write_text(lines, encoding="utf-8")


def _matches(line: str, text: str) -> bool:
    return line.split() == text.split()


# --- esp32 ---


def _build_esp32(board: Board, progress: Progress) -> Firmware:
    """Build with MicroPython's own Makefile and the variables of ESP-IDF's export.sh. Not run yet."""
    source = os.environ.get("MPY_DIR")
    if not os.environ.get("IDF_PATH") or not source or shutil.which("idf.py") is None:
        raise BitnetError(
            f"firmware for {board.name} needs ESP-IDF: run its export.sh, and set MPY_DIR to MicroPython's "
            "source with its submodules; or name MicroPython's own firmware with --firmware FILE"
        )
    progress(f"building MicroPython for {board.name} with ESP-IDF (several minutes)")
    with tempfile.TemporaryDirectory(prefix="bitnet-esp32-") as work:
        stage = _stage(BOARDS / board.name, Path(work))
        output = Path(work) / "build"
        command: list[str | Path] = ["make", "-C", Path(source) / "ports" / "esp32", f"BOARD={board.name}"]
        command += [f"BOARD_DIR={stage / 'boards' / board.name}", f"BUILD={output}"]
        _run(command, f"building the firmware for {board.name}")
        return Firmware((output / "firmware.bin").read_bytes(), None)


def _run(command: Sequence[str | Path], purpose: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a program; return what it prints. Raises BitnetError, with the purpose, if it fails."""
    kept = ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "IDF_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"LC_ALL": "C", "SOURCE_DATE_EPOCH": _RELEASED} | dict(variables or {})
    result = subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        output = (result.stdout + result.stderr)[-3000:]
        raise BitnetError(f"{purpose} failed ({shlex.join(map(str, command[:1]))}):\n{output}")
    return result.stdout
