"""ROMFS images, read by MicroPython's own VfsRom."""

import json
import subprocess
from pathlib import Path

from bitnet_cli.boards import romfs
from bitnet_cli.emulation.simulator import micropython

LIST = """
import os, sys, json, uctypes, vfs
image = open(sys.argv[1], "rb").read()
vfs.mount(vfs.VfsRom(image), "/rom")
base = uctypes.addressof(image)
found = []
def list_folder(path):
    for name, kind, *_ in os.ilistdir("/rom/" + path):
        if kind == 0x4000:
            list_folder(path + name + "/")
            continue
        data = memoryview(open("/rom/" + path + name, "rb"))
        offset = uctypes.addressof(data) - base if len(data) else 0
        found.append([path + name, bytes(data).hex(), offset % 16])
list_folder("")
print(json.dumps(found))
"""


def read_in_micropython(tmp_path: Path, files: dict[str, bytes]) -> list[list[object]]:
    """What is in an image of these files: path, content in hexadecimal, offset modulo 16."""
    image, script = tmp_path / "image", tmp_path / "list.py"
    image.write_bytes(romfs.image(files))
    assert image.stat().st_size % 2 == 0
    script.write_text(LIST)
    command = [micropython(), str(script), str(image)]
    found: list[list[object]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def test_micropython_reads_it(tmp_path: Path) -> None:
    files = {"a" * length: bytes(range(length)) for length in range(1, 40)} | {"empty": b""}
    for count in (0, 1, 2, 17, len(files)):
        some = dict(list(files.items())[-count:] if count else [])
        assert read_in_micropython(tmp_path, some) == [[name, data.hex(), 0] for name, data in some.items()]


def test_folders(tmp_path: Path) -> None:
    paths = ["lib/a/b.mpy", "main.py", "lib/a/c/dd.mpy", "lib/eee.mpy", "f/g/h"]
    files = {path: path.encode() * count for count, path in enumerate(paths)}
    found = read_in_micropython(tmp_path, files)
    assert sorted(found) == sorted([path, data.hex(), 0] for path, data in files.items())
