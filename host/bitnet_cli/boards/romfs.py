"""Images of MicroPython's ROMFS with every file aligned, so that a board can use it where it lies.

The format is described in MicroPython's extmod/vfs_rom.c; mpremote writes it without alignment.
"""

from collections.abc import Mapping
from typing import TypeAlias, Union

ALIGNMENT = 16

_MAGIC = b"\xd2\xcd\x31"  # the record kind 0x14a6b1
_PADDING = 1
_DATA = 2
_DIRECTORY = 4
_FILE = 5
_LENGTH_SIZE = 5  # lengths are written in five bytes each, so that offsets do not depend on them


_Entries: TypeAlias = dict[str, Union[bytes, "_Entries"]]


def image(files: Mapping[str, bytes]) -> bytes:
    """Return an image with the files of these paths; the data of each begins at a multiple of 16 bytes."""
    start = len(_MAGIC) + _LENGTH_SIZE
    body = _records(_tree(files), start)
    if (start + len(body)) % 2:  # the format wants an even size
        body += bytes([_PADDING, 1, 0])
    return _MAGIC + _length(len(body)) + body


def _tree(files: Mapping[str, bytes]) -> _Entries:
    """Return folders as dictionaries of what is in them."""
    root: _Entries = {}
    for path, data in files.items():
        *folders, name = path.split("/")
        entries = root
        for folder in folders:
            inner = entries.setdefault(folder, {})
            assert isinstance(inner, dict), f"{folder} is a file and a folder"
            entries = inner
        entries[name] = data
    return root


def _records(entries: _Entries, offset: int) -> bytes:
    """Return the records of a folder's entries; the first will lie at this offset of the image."""
    body = b""
    for name, entry in entries.items():
        at = offset + len(body)
        if isinstance(entry, dict):
            body += _directory(name.encode(), entry, at)
        else:
            body += _file(name.encode(), entry, at)
    return body


def _directory(name: bytes, entries: _Entries, offset: int) -> bytes:
    """Return the record of a folder, which will lie at this offset of the image."""
    head = _length(len(name)) + name
    payload = head + _records(entries, offset + 1 + _LENGTH_SIZE + len(head))
    return bytes([_DIRECTORY]) + _length(len(payload)) + payload


def _file(name: bytes, data: bytes, offset: int) -> bytes:
    """Return the record of a file, which will lie at this offset of the image."""
    head = _length(len(name)) + name
    # Kind and length of the file, its name, kind and length of the padding, kind and length of the data.
    data_offset = offset + 1 + _LENGTH_SIZE + len(head) + 2 + 1 + _LENGTH_SIZE
    padding = -data_offset % ALIGNMENT
    payload = head + bytes([_PADDING, padding]) + bytes(padding)
    payload += bytes([_DATA]) + _length(len(data)) + data
    return bytes([_FILE]) + _length(len(payload)) + payload


def _length(value: int) -> bytes:
    """Return a varuint, big-endian groups of seven bits, padded with leading 0x80."""
    groups = [value >> 7 * i & 0x7F for i in reversed(range(_LENGTH_SIZE))]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])
