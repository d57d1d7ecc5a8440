"""All that a board's flash holds: firmware, a ROMFS with the model, a file system with the rest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from littlefs import LittleFS

from ..errors import BitnetError
from ..files import write_atomically
from ..progress import Progress
from .board import Board, Region
from .config import DEFAULT, UnitConfig
from .deploy import File, place_model, read_model, rules_files, unit_files
from .firmware import build_firmware

_BLOCK, _PAGE = 4096, 256
_DISK_VERSION = 0x00020000  # which every MicroPython reads


@dataclass(frozen=True)
class Part:
    """What lies in a region of flash."""

    name: str
    region: Region
    data: bytes


@dataclass(frozen=True)
class Image:
    """The parts of a flash, and the firmware as UF2 where the board's boot loader takes that."""

    board: str
    parts: tuple[Part, ...]
    uf2: bytes | None

    def flash(self) -> dict[int, bytes]:
        """Return the parts by their offsets."""
        return {part.region.start: part.data for part in self.parts}


def build_image(
    board: Board, model: Path, progress: Progress, firmware: bytes | None = None, config: UnitConfig = DEFAULT
) -> Image:
    """Build everything for a board, around the firmware that is given or its own. Raises BitnetError."""
    flash = board.flash
    if flash is None:
        raise BitnetError(f"{board.name} has no flash of its own: there is nothing to build")
    config.check(board)
    data = read_model(model)
    uf2 = None
    if firmware is None:
        built = build_firmware(board, progress)
        firmware, uf2 = built.binary, built.uf2
    model_image, apart = place_model(board, model, data, flash.romfs.size)
    apart += rules_files(model)
    parts = (
        Part("firmware.bin", flash.firmware, firmware),
        Part("romfs.img", flash.romfs, model_image),
        Part("filesystem.img", flash.filesystem, _filesystem(board, config, flash.filesystem, apart)),
    )
    for part in parts:
        if len(part.data) > part.region.size:
            raise BitnetError(
                f"{part.name} takes {len(part.data):,} bytes and {board.name} has {part.region.size:,} for it"
            )
    return Image(board.name, parts, uf2)


def _filesystem(board: Board, config: UnitConfig, region: Region, more: Sequence[File]) -> bytes:
    """Return what `deploy` would write beside our firmware, and more files."""
    files = (*unit_files(board, config, is_frozen=True), *more)
    return littlefs_image({file.path: file.data for file in files}, region.size)


def littlefs_image(files: Mapping[str, bytes], size: int) -> bytes:
    """Return a file system of this many bytes with these files, by their paths."""
    filesystem = LittleFS(
        block_size=_BLOCK,
        block_count=size // _BLOCK,
        prog_size=_PAGE,
        read_size=32,
        cache_size=_PAGE,
        lookahead_size=32,
        disk_version=_DISK_VERSION,
    )
    for path, data in files.items():
        folder = path.rpartition("/")[0]
        if folder:
            filesystem.makedirs(folder, exist_ok=True)
        with filesystem.open(path, "wb") as target:
            target.write(data)
    return bytes(filesystem.context.buffer)


def write_image(image: Image, folder: Path) -> list[Path]:
    """Write the parts and manifest.json, which has their places in flash and SHA-256 sums."""
    files = {part.name: part.data for part in image.parts}
    places = {part.name: part.region.start for part in image.parts}
    if image.uf2 is not None:
        files["firmware.uf2"] = image.uf2
    entries = [
        {
            "file": name,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            **({"offset": places[name]} if name in places else {}),
        }
        for name, data in files.items()
    ]
    manifest = json.dumps({"board": image.board, "files": entries}, indent=1) + "\n"
    files["manifest.json"] = manifest.encode()
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]
