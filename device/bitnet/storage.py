# The unit's own files: settings, rules, queues. A file is replaced as a whole or not at all.

import os

FOLDER = "/data"
_UNFINISHED = ".new"


def path(name: str) -> str:
    """Where a file of the unit's is; the other functions take such paths, or others."""
    return FOLDER + "/" + name


def read(path: str) -> bytes | None:
    """The bytes of a file, or None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def write(path: str, data: bytes | bytearray) -> None:
    """Replace a file. A power cut leaves the old one or the new one; raises OSError."""
    with create(path) as file:
        file.write(data)
    commit(path)


def create(path: str):
    """A file to be written in pieces, which has its name only after commit(); makes the folders it is in."""
    end = path.find("/", 1)
    while end > 0:
        try:
            os.mkdir(path[:end])
        except OSError:
            pass  # it is there, or open() fails
        end = path.find("/", end + 1)
    return open(path + _UNFINISHED, "wb")


def commit(path: str) -> None:
    os.rename(path + _UNFINISHED, path)


def discard(path: str) -> None:
    """Remove what create() has begun."""
    try:
        os.remove(path + _UNFINISHED)
    except OSError:
        pass


def remove(path: str) -> None:
    os.remove(path)


def files() -> list:
    """(name, bytes) of each of the unit's files."""
    try:
        entries = os.ilistdir(FOLDER)
    except OSError:
        return []
    return sorted((entry[0], os.stat(path(entry[0]))[6]) for entry in entries if entry[1] == 0x8000)
