"""Reading files, and writing them so that a failure leaves the old one."""

import contextlib
import os
from pathlib import Path

from .errors import BitnetError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or leave it as it is; raises BitnetError if it cannot be written."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise BitnetError(f"{path}: cannot be written: {error.strerror}") from error


def read_file(path: Path) -> bytes:
    """Return a file's content; raises BitnetError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BitnetError(f"cannot read {path}: {error.strerror}") from None


def require_folder(folder: Path) -> None:
    """Raise BitnetError if no file could be written into `folder`, which need not exist yet."""
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise BitnetError(f"{folder}: cannot be written: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK):
        raise BitnetError(f"{folder}: cannot be written: no permission in {nearest}")


def require_file(path: Path) -> None:
    """Raise BitnetError if `path` could not be written; neither it nor its folder need exist yet."""
    require_folder(path.parent)
    if path.is_dir():
        raise BitnetError(f"{path}: cannot be written: it is a folder")
