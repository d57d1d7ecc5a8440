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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import BitnetError
from .files import write_atomically
from .paths import NATIVE

Report = Callable[[str], None]

ABI = "6.3"
# What the committed modules were built with; another compiler may choose other instructions.
COMPILER_VERSION = "12.2"

_SOURCE_PACKAGE = "micropython"
_SOURCE_VERSION = "1.25.0+ds-1"
_SOURCE_SUITE = "trixie"
_SOURCE_TARBALL = "micropython_1.25.0+ds.orig.tar.xz"
_SOURCE_SHA256 = "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea"
_SOURCE_FOLDER = "micropython-1.25.0"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Architecture:
    """A MicroPython native architecture and the compiler its `dynruntime.mk` calls."""

    compiler: str
    package: str


ARCHITECTURES = {
    "x64": Architecture("gcc", "gcc"),
    "armv6m": Architecture("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    "armv7emsp": Architecture("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    "armv7emdp": Architecture("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    "rv32imc": Architecture("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
}


@dataclass(frozen=True)
class Built:
    """One module: its bytes, those of its machine code and constants, and what compiled it."""

    architecture: str
    module: bytes
    text_size: int
    compiler_version: str


def module_path(folder: Path, architecture: str) -> Path:
    """Where a module lies under a natmod folder, as `mip` packages name it."""
    return folder / f"{architecture}_{ABI}" / "_bitnet.mpy"


def build_into(folder: Path, architectures: list[str], report: Report) -> list[Built]:
    """Build the modules and write each to its place under `folder`. Raises BitnetError."""
    for architecture in architectures:
        require_tools(architecture)
    source = micropython_source(report)
    modules = []
    for architecture in architectures:
        report(f"compiling for {architecture}")
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
    return Built(architecture, module, text_size(output), compiler_version(architecture))


def text_size(output: str) -> int:
    """Bytes of machine code, from what `make all` printed. Raises BitnetError."""
    found = re.search(r"text size:\s*(\d+)", output)
    if found is None:
        raise BitnetError("MicroPython's linker told no text size; is MPY_DIR v1.25 or later?")
    return int(found[1])


def prepare(folder: Path, source: Path) -> Path:
    """A copy of native/ beside MicroPython's source, for make() to work in; returns it."""
    native = folder / "native"
    shutil.copytree(NATIVE, native, ignore=shutil.ignore_patterns("build", "*.mpy"))
    (folder / "micropython").symlink_to(source)
    return native


def make(native: Path, architecture: str, *targets: str) -> str:
    """Run mpy/Makefile in a prepared copy of native/; returns what it printed. Raises BitnetError."""
    require_tools(architecture)
    command = [
        "make",
        f"--directory={native / 'mpy'}",
        f"ARCH={architecture}",
        f"PYTHON={shlex.quote(sys.executable)}",
        "MPY_DIR=../../micropython",
        *targets,
    ]
    result = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, errors="replace", check=False
    )
    if result.returncode != 0:
        raise BitnetError(f"the build for {architecture} failed:\n{(result.stdout + result.stderr)[-4000:]}")
    return result.stdout


def compiler_version(architecture: str) -> str:
    """Such as "12.2.1"; raises BitnetError if the compiler is missing."""
    compiler = require_tools(architecture)
    command = [compiler, "-dumpfullversion"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def require_tools(architecture: str) -> str:
    """The compiler's path; raises BitnetError with the package to install if something is missing."""
    if architecture not in ARCHITECTURES:
        raise BitnetError(f"unknown architecture {architecture}: it is one of {', '.join(ARCHITECTURES)}")
    if shutil.which("make") is None:
        raise BitnetError("make is not on PATH: install the Debian package make")
    missing = [name for name in ("elftools", "ar") if importlib.util.find_spec(name) is None]
    if missing:
        raise BitnetError(f"{', '.join(missing)} is not installed: pip install 'bitnet-cli[build]'")
    target = ARCHITECTURES[architecture]
    compiler = shutil.which(target.compiler)
    if compiler is None:
        raise BitnetError(
            f"{target.compiler}, the compiler for {architecture}, is not on PATH: "
            f"install the Debian package {target.package}"
        )
    return compiler


def _environment() -> dict[str, str]:
    """Only what the tools need: make would add CFLAGS and its like from the user's environment."""
    kept = ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")
    fixed = {"LC_ALL": "C", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {name: os.environ[name] for name in kept if name in os.environ} | fixed


# --- MicroPython's source ---


def micropython_source(report: Report) -> Path:
    """The source tree at MPY_DIR, or Debian's, fetched once into the user's cache. Raises BitnetError."""
    given = os.environ.get("MPY_DIR")
    if given:
        source = Path(given).expanduser().resolve()
        if not _is_source(source):
            raise BitnetError(
                f"MPY_DIR is {given}, which holds no py/dynruntime.mk: set it to MicroPython's source"
            )
        return source
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitnet-cli"
    source = cache / _SOURCE_FOLDER
    if not _is_source(source):
        report(f"fetching MicroPython's source ({_SOURCE_PACKAGE} {_SOURCE_VERSION} from Debian)")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as folder:
            _unpack(_download(Path(folder)), Path(folder) / "unpacked", source)
    return source


def _is_source(folder: Path) -> bool:
    return (folder / "py" / "dynruntime.mk").is_file() and (folder / "tools" / "mpy_ld.py").is_file()


def _unpack(tarball: Path, folder: Path, source: Path) -> None:
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != _SOURCE_SHA256:
        raise BitnetError(
            f"{tarball.name} has SHA-256 {digest} instead of {_SOURCE_SHA256}: set MPY_DIR instead"
        )
    with tarfile.open(tarball) as archive:
        # The filter came with Python 3.11.4; the contents are pinned either way.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(folder)
    try:
        (folder / _SOURCE_FOLDER).rename(source)
    except OSError:
        # Another process was first, or left a damaged tree.
        if not _is_source(source):
            shutil.rmtree(source, ignore_errors=True)
            (folder / _SOURCE_FOLDER).rename(source)


def _download(folder: Path) -> Path:
    """Debian's source package by a private apt configuration, so that the system's own stays untouched."""
    if shutil.which("apt-get") is None:
        raise BitnetError(
            "there is no apt-get to fetch MicroPython's source with: set MPY_DIR to a source tree"
        )
    options = _private_apt(folder)
    _run_apt(folder, options, "update")
    _run_apt(folder, options, "--download-only", "source", f"{_SOURCE_PACKAGE}={_SOURCE_VERSION}")
    return folder / _SOURCE_TARBALL


def _private_apt(folder: Path) -> list[str]:
    lists, cache = folder / "lists", folder / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    signed_by = f" [signed-by={_KEYRING}]" if Path(_KEYRING).is_file() else ""
    sources = folder / "sources.list"
    sources.write_text(f"deb-src{signed_by} {_debian_mirror()} {_SOURCE_SUITE} main\n", encoding="utf-8")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": lists,
        "Dir::Cache": cache,
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _debian_mirror() -> str:
    """The address of the machine's own Debian mirror."""
    wanted = ("--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages")
    for extra in ((), ("--no-release-info",)):
        command = ["apt-get", "indextargets", *extra, *wanted]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        for line in result.stdout.splitlines():
            address, _, label = line.partition(" ")
            # Without `apt-get update` the label is not known, but Debian's mirrors end like this.
            if label == "Debian" or (extra and address.rstrip("/").endswith("/debian")):
                return address
    raise BitnetError(
        "apt knows no Debian mirror to fetch MicroPython's source from: set MPY_DIR to a source tree"
    )


def _run_apt(folder: Path, options: list[str], *words: str) -> None:
    result = subprocess.run(
        ["apt-get", "-q", *options, *words],
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        output = (result.stdout + result.stderr)[-2000:].strip()
        raise BitnetError(
            f"apt-get {words[-1]} failed; check the network, or set MPY_DIR to a source tree:\n{output}"
        )
