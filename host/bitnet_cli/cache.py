"""The user's cache of what is fetched once."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def folder() -> Path:
    """Return the folder of the cache, which is made if it is not there."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bitnet-cli"
    path.mkdir(parents=True, exist_ok=True)
    return path


def kept(name: str, is_complete: Callable[[Path], bool], make: Callable[[Path], Path]) -> Path:
    """Return the file or folder of this name in the cache, made if it is not there or not complete.

    make: gets an empty folder to work in, and returns what it made there. That is moved into the cache when
    it is whole, so neither an interruption nor another process that makes the same does any harm.
    """
    place = folder() / name
    if not is_complete(place):
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder()) as work:
            made = make(Path(work))
            try:
                made.rename(place)
            except OSError:
                # Another process was first, or left something damaged.
                if not is_complete(place):
                    shutil.rmtree(place, ignore_errors=True)
                    made.rename(place)
    return place
