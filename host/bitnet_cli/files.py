"""Writing files so that a failure leaves the old one."""

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
        temporary.unlink(missing_ok=True)
        raise BitnetError(f"{path}: cannot be written: {error.strerror}") from error
