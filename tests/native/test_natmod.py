"""The native module as a Python program meets it: results, and a clear line for every wrong argument."""

import subprocess
from pathlib import Path

import pytest
from bitnet_cli.model.modelfile import ModelConfig, split
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.model.random_model import random_model
from bitnet_cli.natmod.build import module_path
from bitnet_cli.paths import DEVICE
from support.targets import find_micropython

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

VOCAB = 40
MODEL = random_model(ModelConfig(VOCAB, 24, 40, 2, 4, 2, 6, window=4), 1)

PROLOGUE = """
import sys, micropython
from array import array
sys.path.insert(0, sys.argv[1])
import _bitnet
model = open(sys.argv[2], "rb").read()
state = bytearray(_bitnet.state_size(model))
_bitnet.init(model, state)
tokens = array("H", [1, 2, 3, 4, 5, 6])
_bitnet.feed(model, state, tokens, 6)
ids, permille = array("H", [0] * 3), array("H", [0] * 3)
allowed = bytearray(b"\\xff" * 5)
both = bytearray(model) + bytearray(len(state))
resident = open(sys.argv[3], "rb").read()
"""


def run(tmp_path: Path, script: str) -> str:
    """What the script prints in MicroPython."""
    (tmp_path / "model.bitnet").write_bytes(MODEL)
    (tmp_path / "resident.bitnet").write_bytes(split(MODEL)[0])
    (tmp_path / "script.py").write_text(PROLOGUE + script)
    folder = module_path(DEVICE / "natmod", "x64").parent
    files = [tmp_path / "model.bitnet", tmp_path / "resident.bitnet"]
    command = [find_micropython(), tmp_path / "script.py", folder, *files]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_top_k_under_a_locked_heap(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        """
def answer():
    micropython.heap_lock()
    _bitnet.feed(model, state, tokens, 2)
    _bitnet.top_k(model, state, allowed, ids, None, 3)
    found = _bitnet.top_k(model, state, allowed, ids, permille, 3)
    position = _bitnet.position(model, state)
    micropython.heap_unlock()
    return position, found
print(*answer(), list(ids), list(permille))
""",
    )
    oracle = Oracle(MODEL)
    oracle.feed([1, 2, 3, 4, 5, 6, 1, 2])
    ids, permille = oracle.top_k(b"\xff" * 5, 3)
    assert printed == f"8 3 {list(map(int, ids))} {list(map(int, permille))}"


def test_save_and_restore(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        """
before, after = bytearray(160), bytearray(160)
_bitnet.logits(model, state, before)
snapshot = bytearray(_bitnet.save(model, state, None))
print(_bitnet.save(model, state, snapshot) == len(snapshot))
_bitnet.reset(model, state)
print(_bitnet.position(model, state))
_bitnet.restore(model, state, snapshot)
_bitnet.logits(model, state, after)
print(_bitnet.position(model, state), before == after)
""",
    )
    assert printed.split() == ["True", "0", "6", "True"]


@pytest.mark.parametrize("placement", [0, 1, 2])
def test_a_deadline_is_looked_at_before_each_layer(tmp_path: Path, placement: int) -> None:
    """Wherever it passes, the cache is empty then and the next request is answered as ever."""
    printed = run(
        tmp_path,
        f"""
state = bytearray(_bitnet.state_size(model, 0, {placement}))
_bitnet.init(model, state, 0, {placement})
def logits():
    _bitnet.logits(model, state, out)
    return bytes(out)
def clock():
    global time
    time = (time + 1) & sys.maxsize >> 1
    return time
out = bytearray(160)
_bitnet.feed(model, state, tokens, 5)
right = logits()
for start in (0, (sys.maxsize >> 1) - 3):  # the ticks wrap around
    for asked in range(1, 8):
        _bitnet.reset(model, state)
        time = start
        done = _bitnet.feed(model, state, tokens, 5, clock, start + asked & sys.maxsize >> 1)
        position = _bitnet.position(model, state)
        if not done:
            _bitnet.feed(model, state, tokens, 5)
        print(done, time - start & sys.maxsize >> 1, position, logits() == right)
""",
    )
    # 5 tokens go in pairs through two layers: six times.
    stopped = [f"False {asked} 0 True" for asked in range(1, 7)]
    assert printed.splitlines() == [*stopped, "True 6 5 True"] * 2


def test_a_moved_state_goes_on(tmp_path: Path) -> None:
    assert run(tmp_path, "moved = bytearray(state)\n_bitnet.feed(model, moved, tokens, 1)\nprint(1)") == "1"


WRONG = {
    "_bitnet.check(b'')": "model: bytes are missing at its end",
    "_bitnet.check(model[:-1])": "model: bytes are missing at its end",
    "_bitnet.check(b'x' + model[1:])": "not a .bitnet file",
    "_bitnet.check(model[:4] + b'\\x01' + model[5:])": "another version",
    "_bitnet.check(model[:99] + b'\\x99' + model[100:])": "checksum differs: the file is damaged",
    "_bitnet.check(memoryview(model)[1:])": "multiple of 4",
    "_bitnet.check(5)": "buffer protocol",
    "_bitnet.state_size(model, 257)": "window must be 1 to 256",
    "_bitnet.init(model, state, -1)": "window must be 1 to 256",
    "_bitnet.init(model, bytearray(100))": "state: too small",
    "_bitnet.init(model, bytes(state))": "",
    "_bitnet.init(resident, state)": "its layers are apart: it needs PSRAM on pins",
    "_bitnet.init(resident, state); _bitnet.feed(resident, state, tokens, 1)": "its layers are apart",
    "_bitnet.init_psram(resident, state, 0, 0, 1, 6)": "its layers are apart: it needs PSRAM on pins",
    "_bitnet.init_psram(resident, state, 0, 12, 1, 6)": "dma_channel must be 0 to 11",
    "_bitnet.feed(model, bytearray(len(state)), tokens, 1)": "call init",
    "_bitnet.feed(model, bytearray(10), tokens, 1)": "state: too small",
    "_bitnet.feed(model, state[:-4], tokens, 1)": "state: too small",
    "_bitnet.feed(model, state, array('H', [40]), 1)": "not below the vocabulary",
    "_bitnet.feed(model, state, tokens, 7)": "at least count items",
    "_bitnet.feed(model, state, tokens, -1)": "negative",
    "_bitnet.feed(model, state, memoryview(state)[400:], 4)": "must not be part of the state",
    "_bitnet.feed(model, state, memoryview(bytes(9))[1:], 1)": "array('H')",
    "_bitnet.begin(model, bytearray(len(state)))": "call init",
    "_bitnet.begin(model, state); _bitnet.logits(model, state, bytearray(160))": "call feed first",
    "_bitnet.logits(model, state, state)": "must not be part of the state",
    "_bitnet.top_k(model, state, state, ids, permille, 1)": "must not be part of the state",
    "_bitnet.top_k(model, state, allowed, state, permille, 1)": "must not be part of the state",
    "_bitnet.save(model, state, state)": "must not be part of the state",
    "_bitnet.restore(model, state, state)": "must not be part of the state",
    "_bitnet.init(both, both)": "must not be part of the state",
    "_bitnet.init(memoryview(both)[:len(model)], memoryview(both)[64:])": "must not be part of the state",
    "_bitnet.feed(both, memoryview(both)[64:], tokens, 1)": "must not be part of the state",
    "_bitnet.logits(model, state, bytearray(159))": "4 bytes per token",
    "_bitnet.top_k(model, state, bytearray(4), ids, permille, 1)": "a bit per token",
    "_bitnet.top_k(model, state, allowed, ids, permille, 4)": "at least count items",
    "_bitnet.save(model, state, bytearray(8))": "too small",
    "_bitnet.restore(model, state, bytearray(8))": "not a snapshot",
    "_bitnet.reset(model, state); _bitnet.logits(model, state, bytearray(160))": "call feed first",
}


@pytest.mark.parametrize("call", WRONG)
def test_wrong_arguments(tmp_path: Path, call: str) -> None:
    lines = call.replace("; ", "\n    ")
    printed = run(
        tmp_path,
        f"try:\n    {lines}\n    print('none')\nexcept (ValueError, TypeError) as error:\n    print(error)\n",
    )
    assert printed != "none" and WRONG[call] in printed
