"""The simulated board's native module is what its source gives, and maps files as they are."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bitnet_cli.emulation import simulator
from bitnet_cli.natmod import build
from bitnet_cli.paths import BOARDS

pytestmark = pytest.mark.toolchain

MAP = """
import _flash, gc, json, sys
gc.collect()
before = gc.mem_free()
data = _flash.map(sys.argv[1])
gc.collect()
taken = before - gc.mem_free()
try:
    _flash.map(sys.argv[1] + ".none")
except OSError as error:
    print(json.dumps([len(data), sum(data), taken, error.errno]))
"""


def test_rebuilds_to_the_same_bytes(tmp_path: Path) -> None:
    version = build.ARCHITECTURES["x64"].version
    if not build.find_tools("x64").version().startswith(version):
        pytest.skip(f"the module was built with gcc {version}")
    source = build.micropython_source(print)
    folder = tmp_path / "flash"
    shutil.copytree(BOARDS / "sim" / "flash", folder)
    command = ["make", f"--directory={folder}", f"PYTHON={sys.executable}", f"MPY_DIR={source}"]
    subprocess.run(command, capture_output=True, check=True)
    assert (folder / "_flash.mpy").read_bytes() == (BOARDS / "sim" / "_flash.mpy").read_bytes()


def test_maps_outside_the_heap(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4000)
    script = tmp_path / "map.py"
    script.write_text(MAP)
    done = subprocess.run(
        [simulator.micropython(), "-X", "heapsize=64k", str(script), str(file)],
        env=simulator.environment(),
        capture_output=True,
        check=True,
    )
    size, total, taken, errno = json.loads(done.stdout)
    assert (size, total, errno) == (1_024_000, 4000 * sum(range(256)), 2)
    assert taken < 1024
