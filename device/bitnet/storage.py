# The unit's own files: settings, rules, queues. A file is replaced as a whole or stays as it was.

import os

FOLDER = "/data"
_UNFINISHED = ".new"


def path(name: str) -> str:
    """Return the path of one of the unit's files. The other functions take such paths, and any others."""
    return FOLDER + "/" + name


def read(path: str) -> bytes | None:
    """Return the bytes of a file, or None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def write(path: str, data: bytes | bytearray) -> None:
    """Replace a file. A power cut leaves the old one or the new one. Raises OSError."""
    with create(path) as file:
        file.write(data)
    commit(path)


def create(path: str):
    """Open a file to be written in pieces, which has its name only after commit(). Makes folders for it."""
    end = path.find("/", 1)
    while end > 0:
        try:
            os.mkdir(path[:end])
        except OSError:
            pass  # the folder is there already, or else open() fails
        end = path.find("/", end + 1)
    return open(path + _UNFINISHED, "wb")


def commit(path: str) -> None:
    """Put what was written after create() in place of the file. Raises OSError."""
    os.rename(path + _UNFINISHED, path)


def discard(path: str) -> None:
    """Remove what was written after create()."""
    try:
        os.remove(path + _UNFINISHED)
    except OSError:
        pass


def remove(path: str) -> None:
    """Remove a file. Raises OSError if there is no such file."""
    os.remove(path)


def files() -> list:
    """Return (name, bytes) of each of the unit's files, sorted."""
    try:
        entries = os.ilistdir(FOLDER)
    except OSError:
        return []
    return sorted((entry[0], os.stat(path(entry[0]))[6]) for entry in entries if entry[1] == 0x8000)
