# The unit's own files: settings, rules, queues. A file is replaced as a whole or not at all.

import os

FOLDER = "/data"


def path(name: str) -> str:
    return FOLDER + "/" + name


def read(name: str) -> bytes | None:
    """The bytes of a file, or None if there is none."""
    try:
        with open(path(name), "rb") as file:
            return file.read()
    except OSError:
        return None


def write(name: str, data: bytes) -> None:
    """Replace a file. A power cut leaves the old one or the new one; raises OSError."""
    with create(name) as file:
        file.write(data)
    commit(name)


def prepare() -> None:
    """See to it that the folder is there."""
    try:
        os.mkdir(FOLDER)
    except OSError:
        pass  # it is


def create(name: str):
    """A file to be written in pieces, which has its name only after commit()."""
    prepare()
    return open(_unfinished(name), "wb")


def commit(name: str) -> None:
    os.rename(_unfinished(name), path(name))


def discard(name: str) -> None:
    """Remove what create() has begun."""
    try:
        os.remove(_unfinished(name))
    except OSError:
        pass


def remove(name: str) -> None:
    os.remove(path(name))


def files() -> list:
    """(name, bytes) of each file."""
    try:
        entries = os.ilistdir(FOLDER)
    except OSError:
        return []
    return sorted((entry[0], os.stat(path(entry[0]))[6]) for entry in entries if entry[1] == 0x8000)


def _unfinished(name: str) -> str:
    return path(name) + ".new"
