# The simulated board's flash. Everything after it is what runs on every board.

import sys

import _flash
import vfs


def mount(image: str) -> None:
    """Mount a ROMFS image (a file of the PC) at /rom, mapped into memory and not on the heap."""
    vfs.mount(vfs.VfsRom(_flash.map(image)), "/rom")
    sys.path.append("/rom")
