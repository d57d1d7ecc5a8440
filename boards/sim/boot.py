# The simulated board's flash. Everything after it is what runs on every board.

import sys

import _flash
import vfs

_BLOCK = 4096
_BLOCKS = 64


def mount(image: str, storage: str) -> None:
    """Mount files of the PC: a ROMFS image at /rom, mapped and not on the heap, a littlefs at /data."""
    vfs.mount(vfs.VfsRom(_flash.map(image)), "/rom")
    sys.path.append("/rom")
    blocks = _Blocks(storage)
    if blocks.is_new:
        vfs.VfsLfs2.mkfs(blocks)
    vfs.mount(vfs.VfsLfs2(blocks), "/data")


class _Blocks:
    """A block device in a file."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "r+b")  # noqa: SIM115 (as long as the board runs)
        self.is_new = self._file.seek(0, 2) == 0
        if self.is_new:
            for _ in range(_BLOCKS):
                self._file.write(b"\xff" * _BLOCK)

    def readblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, block: int, buffer: bytearray, offset: int = 0) -> None:
        self._file.seek(block * _BLOCK + offset)
        self._file.write(buffer)

    def ioctl(self, operation: int, argument: int) -> int | None:
        if operation == 4:
            return _BLOCKS
        if operation == 5:
            return _BLOCK
        if operation == 3:
            self._file.flush()
        return 0
