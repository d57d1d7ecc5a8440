"""`bitnet-cli build --board`: all that a board's flash holds, with sums."""

import hashlib
import json
from pathlib import Path

import pytest
from bitnet_cli import cli
from bitnet_cli.boards.board import board_names, read_board
from bitnet_cli.boards.firmware import build_firmware
from bitnet_cli.boards.image import build_image
from bitnet_cli.model.modelfile import ModelConfig, split
from bitnet_cli.model.packing import BINARY
from bitnet_cli.model.random_model import random_model
from bitnet_cli.natmod.build import module_path
from bitnet_cli.paths import DEVICE, STOCK_MODEL
from littlefs import LittleFS

pytestmark = pytest.mark.toolchain

_UF2_MAGIC = b"UF2\n"


def test_parts_and_manifest(tmp_path: Path) -> None:
    board = read_board("rp2040_pico")
    assert cli.main(["build", "--board", board.name, "--output", str(tmp_path)]) == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["board"] == board.name
    for entry in manifest["files"]:
        data = (tmp_path / entry["file"]).read_bytes()
        assert entry["bytes"] == len(data) and entry["sha256"] == hashlib.sha256(data).hexdigest()
    offsets = {entry["file"]: entry.get("offset") for entry in manifest["files"]}
    assert board.flash
    assert offsets == {
        "firmware.bin": 0,
        "romfs.img": board.flash.romfs.start,
        "filesystem.img": board.flash.filesystem.start,
        "firmware.uf2": None,
    }
    assert (tmp_path / "firmware.uf2").read_bytes().startswith(_UF2_MAGIC)
    # Weights are used where they lie, which takes words at multiples of 4.
    assert (tmp_path / "romfs.img").read_bytes().index(STOCK_MODEL.read_bytes()) % 16 == 0


def test_the_file_system_has_what_deploy_would_write(tmp_path: Path) -> None:
    given = tmp_path / "given.bin"
    given.write_bytes(bytes(1000))
    command = ["build", "--board", "esp32s3_n8r2", "--firmware", str(given), "--output", str(tmp_path)]
    assert cli.main(command) == 0
    found = content((tmp_path / "filesystem.img").read_bytes(), "lib/_bitnet.mpy")
    assert found == module_path(DEVICE / "natmod", "xtensawin").read_bytes()


def test_rules_lie_apart_from_the_model(tmp_path: Path) -> None:
    image = build_image(read_board("rp2040_pico"), STOCK_MODEL, print, bytes(1000))
    (filesystem,) = (part.data for part in image.parts if part.name == "filesystem.img")
    assert content(filesystem, "models/home.rules") == STOCK_MODEL.with_suffix(".rules").read_bytes()


def test_a_model_larger_than_the_romfs_is_split_for_psram_on_pins(tmp_path: Path) -> None:
    board = read_board("rp2040_psram")
    assert board.flash
    data = random_model(ModelConfig(64, 1024, 4096, 2, 16, 4, 64, weight_type=BINARY, head_type=BINARY), 1)
    assert len(data) > board.flash.romfs.size
    (tmp_path / "large.bitnet").write_bytes(data)
    resident, layers = split(data)
    image = build_image(board, tmp_path / "large.bitnet", print, bytes(1000))
    parts = {part.name: part.data for part in image.parts}
    assert resident in parts["romfs.img"] and len(parts["romfs.img"]) < len(resident) + 1000
    assert content(parts["filesystem.img"], "models/large.layers") == layers


def content(image: bytes, path: str) -> bytes:
    """Of a file in an image."""
    filesystem = LittleFS(block_size=4096, block_count=len(image) // 4096, mount=False)
    filesystem.context.buffer[:] = image
    filesystem.mount()
    with filesystem.open(path, "rb") as file:
        found: bytes = file.read()
        return found


def test_what_cannot_be_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(385 * 1024))
    for arguments, message in [
        (["--board", "sim"], "sim has no flash of its own"),
        (["--board", "none"], "the boards are"),
        (["--board", "rp2040_pico", "--firmware", str(large)], "and rp2040_pico has 393,216 for it"),
        (["--board", "rp2040_pico", "--firmware", str(tmp_path / "none")], "cannot read"),
        (["--board", "rp2040_pico", "--model", str(large)], "model"),
    ]:
        assert cli.main(["build", *arguments, "--output", str(tmp_path)]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert message in error


@pytest.mark.parametrize("name", [name for name in board_names() if read_board(name).port == "rp2"])
def test_firmware_fits_below_the_romfs(name: str) -> None:
    board = read_board(name)
    assert board.flash
    assert 200_000 < len(build_firmware(board, print).binary) <= board.flash.firmware.size
