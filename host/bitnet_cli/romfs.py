"""Images of MicroPython's ROMFS with every file aligned, so that a board can use it where it lies.

The format is described in MicroPython's extmod/vfs_rom.c; mpremote writes it without alignment.
"""

from collections.abc import Mapping

ALIGNMENT = 16

_MAGIC = b"\xd2\xcd\x31"  # the record kind 0x14a6b1
_PADDING = 1
_DATA = 2
_FILE = 5
_LENGTH_SIZE = 5  # lengths are written in five bytes each, so that offsets do not depend on them


def image(files: Mapping[str, bytes]) -> bytes:
    """An image with these files in its root; the data of each begins at a multiple of 16 bytes."""
    start = len(_MAGIC) + _LENGTH_SIZE
    body = b""
    for name, data in files.items():
        body += _file(name.encode(), data, start + len(body))
    if (start + len(body)) % 2:  # the format wants an even size
        body += bytes([_PADDING, 1, 0])
    return _MAGIC + _length(len(body)) + body


def _file(name: bytes, data: bytes, offset: int) -> bytes:
    """The record of a file, which will lie at this offset of the image."""
    head = _length(len(name)) + name
    # Kind and length of the file, its name, kind and length of the padding, kind and length of the data.
    data_offset = offset + 1 + _LENGTH_SIZE + len(head) + 2 + 1 + _LENGTH_SIZE
    padding = -data_offset % ALIGNMENT
    payload = head + bytes([_PADDING, padding]) + bytes(padding)
    payload += bytes([_DATA]) + _length(len(data)) + data
    return bytes([_FILE]) + _length(len(payload)) + payload


def _length(value: int) -> bytes:
    """A varuint, big-endian groups of seven bits, padded with leading 0x80."""
    groups = [value >> 7 * i & 0x7F for i in reversed(range(_LENGTH_SIZE))]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])
