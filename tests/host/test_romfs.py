"""ROMFS images, read by MicroPython's own VfsRom."""

import json
import subprocess
from pathlib import Path

from bitnet_cli import romfs
from bitnet_cli.simulator import micropython

LIST = """
import os, sys, json, uctypes, vfs
image = open(sys.argv[1], "rb").read()
vfs.mount(vfs.VfsRom(image), "/rom")
base = uctypes.addressof(image)
found = []
for name in os.listdir("/rom"):
    data = memoryview(open("/rom/" + name, "rb"))
    found.append([name, bytes(data).hex(), (uctypes.addressof(data) - base) % 16 if len(data) else 0])
print(json.dumps(found))
"""


def test_micropython_reads_it(tmp_path: Path) -> None:
    files = {"a" * length: bytes(range(length)) for length in range(1, 40)} | {"empty": b""}
    for count in (0, 1, 2, 17, len(files)):
        some = dict(list(files.items())[-count:] if count else [])
        image = tmp_path / "image"
        image.write_bytes(romfs.image(some))
        assert image.stat().st_size % 2 == 0
        script = tmp_path / "list.py"
        script.write_text(LIST)
        output = subprocess.run(
            [micropython(), str(script), str(image)], capture_output=True, check=True
        ).stdout
        assert json.loads(output) == [[name, data.hex(), 0] for name, data in some.items()]
