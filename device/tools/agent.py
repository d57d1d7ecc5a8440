# What `bitnet-cli deploy` runs on a board through the REPL. Functions answer with one line of JSON.
#
# Data comes in chunks. A byte goes before each of them, with which the others are exclusive-ored so that none
# is Ctrl-C, which would stop the program. The board answers each chunk with a dot, and the next one comes
# after that, so that no buffer overflows.

import binascii
import gc
import hashlib
import json
import os
import sys

import uctypes
from micropython import const

try:
    import rp2
except ImportError:
    rp2 = None  # type: ignore[assignment]
try:
    import vfs
except ImportError:
    vfs = None  # type: ignore[assignment]

_BLOCK = const(4096)
_CHUNK = const(128)
_PART = ".part"
_ROM_SEGMENTS = const(1)
_ROM_SEGMENT = const(2)
_BLOCK_COUNT = const(4)
_ERASE = const(6)

# Where the firmware says how long it is: RP2040 datasheet, 2.8.3, and binary_info of the Pico SDK.
_FLASH = const(0x10000000)
_INFO_AT = const(0x100)
_INFO_END = const(0x100 + 256)
_INFO_MARK = const(0x7188EBF2)
_INFO_IS_INT = const(5)
_INFO_BINARY_END = const(0x68F465DE)

_buffer = bytearray(_BLOCK)
_chunk = bytearray(1 + _CHUNK)
# The block device that open_region() has found, if any.
_regions: list = []


def facts() -> None:
    """Tell what decides which files a board needs: its firmware, a frozen package, free bytes."""
    frozen = None
    if ".frozen" in sys.path:
        path, sys.path[:] = list(sys.path), [".frozen"]
        try:
            import bitnet  # noqa: PLC0415

            frozen = bitnet.__version__
        except ImportError:
            pass
        sys.path[:] = path
    state = os.statvfs("/")
    _answer(
        {
            "version": list(sys.implementation.version[:3]),
            "mpy": sys.implementation._mpy,
            "machine": sys.implementation._machine,
            "platform": sys.platform,
            "frozen": frozen,
            "free": state[0] * state[3],
        }
    )


def _answer(value: object) -> None:
    print(json.dumps(value))


def _receive(size: int) -> memoryview:
    """Receive `size` bytes, at most a block; they are valid until the next call."""
    for at in range(0, size, _CHUNK):
        count = min(_CHUNK, size - at)
        chunk = memoryview(_chunk)[: 1 + count]
        sys.stdin.buffer.readinto(chunk)  # type: ignore[union-attr]
        mask = chunk[0] * (((1 << 8 * count) - 1) // 255)
        data = int.from_bytes(chunk[1:], "little") ^ mask
        _buffer[at : at + count] = data.to_bytes(count, "little")
        sys.stdout.write(".")
    return memoryview(_buffer)[:size]


# --- files ---


def _open(path: str, mode: str):
    try:
        return open(path, mode)
    except OSError:
        return None


def sums(paths: list) -> None:
    """Tell the SHA-256 and the size of each file, or null if there is no such file."""
    _answer([_sum(path) for path in paths])


def _sum(path: str, size: int = -1):
    file = _open(path, "rb")
    if file is None:
        return None
    digest, at = hashlib.sha256(), 0
    with file:
        while at != size:
            count = file.readinto(memoryview(_buffer)[: min(_BLOCK, size - at)] if size >= 0 else _buffer)
            if not count:
                break
            digest.update(memoryview(_buffer)[:count])
            at += count
    return [binascii.hexlify(digest.digest()).decode(), at]


def part_sum(path: str) -> None:
    """Tell what an interrupted write() has left of a file, as sums() does."""
    _answer(_sum(path + _PART))


def write(path: str, start: int, size: int) -> None:
    """Receive `size` bytes, and append them to the part file, which begins anew if `start` is 0.

    The file is closed after each block, which then survives a power cut.
    """
    if not start:
        _make_folders(path)
        _remove(path + _PART)
    while size:
        data = _receive(min(size, _BLOCK))
        with open(path + _PART, "ab") as file:
            file.write(data)
        size -= len(data)


def _make_folders(path: str) -> None:
    names = path.split("/")[:-1]
    for i in range(1, len(names) + 1):
        folder = "/".join(names[:i])
        if not _exists(folder):
            os.mkdir(folder)


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def finish(path: str, digest: str) -> None:
    """Give the part file its name if it has the right SHA-256; tell whether it has."""
    found = _sum(path + _PART)
    is_good = found is not None and found[0] == digest
    if is_good:
        os.rename(path + _PART, path)
    else:
        _remove(path + _PART)
    _answer(is_good)


def remove(paths: list) -> None:
    """Remove files, those that are there."""
    for path in paths:
        _remove(path)
    _answer(True)


def remove_others(folder: str, suffix: str, names: list) -> None:
    """Remove all files of a folder whose names end with the suffix, except those that are named."""
    for other in os.listdir(folder) if _exists(folder) else ():
        if other.endswith(suffix) and other not in names:
            _remove(folder + "/" + other)
    _answer(True)


def _remove(path: str) -> None:
    if _exists(path):
        os.remove(path)


def first_line(path: str) -> None:
    """Tell the first line of a text file, or null if there is no such file."""
    file = _open(path, "r")
    _answer(file and file.readline().strip())


# --- the region of flash that holds a model ---


def open_region(start: int, size: int) -> None:
    """Find flash for a model, the ROMFS's or else raw flash from `start` on; tell its kind and size."""
    kind, found = "none", 0
    if hasattr(vfs, "rom_ioctl") and vfs.rom_ioctl(_ROM_SEGMENTS) > 0:
        _regions.append(vfs.rom_ioctl(_ROM_SEGMENT, 0))
        kind, found = "romfs", _BLOCK * _regions[0].ioctl(_BLOCK_COUNT, 0)
    elif rp2 and size:
        end, flash = _firmware_end(), _raw_flash(start, size)
        if end and end <= start and flash:
            _regions.append(flash)
            kind, found = "raw", size
    _answer([kind, found])


def _word(address: int) -> int:
    return int.from_bytes(uctypes.bytearray_at(address, 4), "little")


def _firmware_end() -> int | None:
    """Return where the firmware ends in flash, as it says itself; None if it does not say so."""
    for at in range(_FLASH + _INFO_AT, _FLASH + _INFO_END, 4):
        if _word(at) == _INFO_MARK:
            for entry in range(_word(at + 4), _word(at + 8), 4):
                info = _word(entry)
                if _word(info) & 0xFFFF == _INFO_IS_INT and _word(info + 4) == _INFO_BINARY_END:
                    return _word(info + 8) - _FLASH
    return None


def _raw_flash(start: int, size: int):
    """Make a block device of flash between the firmware and its file system.

    rp2.Flash does not allow that, so the fields of one of its objects are overwritten: after its type these
    are the offset in flash, and the size. Returns None, and changes nothing, if they are not as expected.
    """
    flash = rp2.Flash(start=0, len=_BLOCK)  # type: ignore[call-arg]
    fields = id(flash) + 4
    if _word(fields + 4) != _BLOCK or _word(fields) < start + size:
        return None
    uctypes.bytearray_at(fields, 4)[:] = start.to_bytes(4, "little")
    uctypes.bytearray_at(fields + 4, 4)[:] = size.to_bytes(4, "little")
    return flash


def region_sums(size: int) -> None:
    """Tell the CRC-32 of each block of the region's first `size` bytes."""
    found = []
    for block in range((size + _BLOCK - 1) // _BLOCK):
        _regions[0].readblocks(block, _buffer)
        found.append(binascii.crc32(_buffer))
    _answer(found)


def region_sum(size: int) -> None:
    """Tell the SHA-256 of the region's first `size` bytes."""
    digest = hashlib.sha256()
    for at in range(0, size, _BLOCK):
        _regions[0].readblocks(at // _BLOCK, _buffer)
        digest.update(memoryview(_buffer)[: min(_BLOCK, size - at)])
    _answer(binascii.hexlify(digest.digest()).decode())


def write_block(block: int) -> None:
    """Receive a block, and write it to the region."""
    _regions[0].writeblocks(block, _receive(_BLOCK))


def erase_block(block: int) -> None:
    """Erase a block of the region."""
    _regions[0].ioctl(_ERASE, block)
    _answer(True)


gc.collect()
