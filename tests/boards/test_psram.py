"""The PSRAM driver and models streamed from there: real firmware, and an emulated chip at its pins."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from bitnet_cli.boards import romfs
from bitnet_cli.boards.board import CONFIG_NAME, Board, read_board
from bitnet_cli.boards.firmware import build_firmware
from bitnet_cli.boards.image import littlefs_image
from bitnet_cli.emulation.pico import Pico
from bitnet_cli.emulation.pico_repl import Repl
from bitnet_cli.model.modelfile import PSRAM_BURST, ModelConfig, split
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.model.packing import BINARY, TERNARY
from bitnet_cli.model.random_model import random_model
from bitnet_cli.natmod.build import module_path
from bitnet_cli.paths import DEVICE
from support.psram_chip import ID, SIZE, PsramChip

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

PICO_FLASH_AND_SRAM = (2 << 20) + (264 << 10)
TOKENS = [3, 1, 4]

PSRAM = "from bitnet.psram import Psram, PsramError\n"
OPEN = PSRAM + "psram = Psram(8, 9, 10)\n"
LOAD = """
import bitnet
from array import array
try:
    model = bitnet.load()
    print("loaded")
except bitnet.ModelError as error:
    print(error)
"""
COUNT_FEEDS = """
from bitnet import watchdog
class Feeds:
    count = 0
    def feed():
        Feeds.count += 1
watchdog._wdt = Feeds
"""
FEED = """
out = bytearray(4 * model.vocab_size)
for tokens in {pieces}:
    model.feed(array("H", tokens), len(tokens))
    model.logits(out)
    print(out.hex())
"""


@pytest.fixture(scope="module")
def board() -> Board:
    return read_board("rp2040_psram")


@pytest.fixture(scope="module")
def firmware(board: Board) -> bytes:
    return build_firmware(board, print).binary


@pytest.fixture
def chips() -> Iterator[list[PsramChip]]:
    """Those of a test; at its end, nobody may have done to them what they do not bear."""
    made: list[PsramChip] = []
    yield made
    for chip in made:
        assert chip.violations == []


Start = Callable[..., Repl]


@pytest.fixture
def start(board: Board, firmware: bytes, chips: list[PsramChip]) -> Start:
    """start(chip or None, files of the file system, files of the ROMFS)."""

    def start(chip: PsramChip | None, files: Mapping[str, bytes] = {}, rom: Mapping[str, bytes] = {}) -> Repl:
        assert board.flash is not None
        chips.extend([chip] if chip else [])
        content = {
            "lib/_bitnet.mpy": module_path(DEVICE / "natmod", "armv6m").read_bytes(),
            CONFIG_NAME: board.config(),
            **files,
        }
        flash = {
            0: firmware,
            board.flash.filesystem.start: littlefs_image(content, board.flash.filesystem.size),
            board.flash.romfs.start: romfs.image(dict(rom)),
        }
        return Repl(Pico(flash, [chip] if chip else []))

    return start


def new_chip(**arguments: dict[int, tuple[int, int]]) -> PsramChip:
    return PsramChip(8, 9, 10, **arguments)


def pattern(size: int) -> bytes:
    return bytes(7 * i + (i >> 8) & 0xFF for i in range(size))


# --- the driver ---


def test_the_chip_tells_its_id(start: Start) -> None:
    repl = start(new_chip())
    assert repl.run(OPEN + "print(psram.id.hex(), psram.size)") == [f"{ID[:4].hex()} {SIZE}"]
    # Once more: from QPI, with programs and channels that the first one has given up.
    again = "psram.close()\npsram.close()\npsram = Psram(8, 9, 10)\nprint(psram.id.hex())"
    assert repl.run(again) == [ID[:4].hex()]


def test_without_a_chip(start: Start) -> None:
    attempt = PSRAM + "try:\n    Psram(8, 9, 10)\nexcept PsramError as error:\n    print(error)\n"
    repl = start(None)
    for _ in range(8):  # more often than there are DMA channels for
        (line,) = repl.run(attempt)
        assert line.startswith("no PSRAM at its pins: the ID reads ")


SPANS = [
    *((address, size) for address in range(4) for size in (1, 2, 3, 4, 5)),
    (31, 1),
    (31, 2),
    (29, 40),
    (1023, 2),
    (1000, 3000),
    (SIZE - 1, 1),
    (SIZE - 1100, 1100),
]


def test_any_address_and_length(start: Start) -> None:
    chip = new_chip()
    repl = start(chip)
    repl.run(OPEN + "def pattern(size):\n    return bytes(7 * i + (i >> 8) & 0xFF for i in range(size))\n")
    for address, size in SPANS:
        first, end = max(0, address - 3), min(SIZE, address + size + 3)
        chip.memory[first:end] = b"\xa5" * (end - first)
        repl.run(f"psram.write({address}, pattern({size}))")
        written = bytes(chip.memory[first:end])
        before, after = b"\xa5" * (address - first), b"\xa5" * (end - address - size)
        assert written == before + pattern(size) + after, (address, size)
        read = f"data = bytearray({end - first})\npsram.readinto({first}, data)\nprint(data.hex())"
        assert repl.run(read) == [written.hex()], (address, size)


def test_what_does_not_fit_is_refused(start: Start) -> None:
    repl = start(new_chip())
    for call in (
        f"psram.write({SIZE}, b'1')",
        f"psram.write({SIZE - 1}, b'12')",
        "psram.write(-1, b'1')",
        f"psram.readinto({SIZE - 1}, bytearray(2))",
        f"psram.self_test({SIZE - 4}, 5)",
        "Psram(8, 10, 11)",
    ):
        refused = f"try:\n    {call}\nexcept PsramError as error:\n    print('refused')\n"
        assert repl.run(OPEN + refused + "psram.close()") == ["refused"]


def test_self_test(start: Start) -> None:
    stuck_low, stuck_high = {2501: (0x10, 0)}, {1 << 20: (0x80, 0x80)}
    code = OPEN + "try:\n    psram.self_test(1000, 2100)\n    print('good')\nexcept PsramError as error:\n"
    code += "    print(error)\n"
    assert start(new_chip()).run(code) == ["good"]
    (line,) = start(new_chip(stuck=stuck_low)).run(code)
    assert line.startswith(f"PSRAM is faulty at {2501:#x}: ")
    found, expected = (int(word, 16) for word in line.rsplit(": ", 1)[1].split(" instead of "))
    assert found ^ expected == 0x10
    # Outside the tested cells, but where lines of the address are tested.
    (line,) = start(new_chip(stuck=stuck_high)).run(code)
    assert line.startswith(f"PSRAM is faulty at {1 << 20:#x}: ")


# --- models ---


def small_model(weight_type: int = TERNARY) -> bytes:
    return random_model(ModelConfig(300, 64, 176, 3, 8, 4, 8, window=16, weight_type=weight_type), 5)


def expected(model: bytes, pieces: list[list[int]]) -> list[str]:
    """The oracle's logits after each piece."""
    oracle, logits = Oracle(model), []
    for piece in pieces:
        oracle.feed(piece)
        logits.append(oracle.logits().astype("<i4").tobytes().hex())
    return logits


@pytest.mark.parametrize("weight_type", [BINARY, TERNARY], ids=["binary", "ternary"])
def test_layers_are_copied_into_psram(start: Start, weight_type: int) -> None:
    model = small_model(weight_type)
    resident, layers = split(model)
    chip = new_chip()
    repl = start(chip, {"small.layers": layers}, {"small.bitnet": resident})
    assert repl.run(COUNT_FEEDS + LOAD) == ["loaded"]
    assert chip.memory[: len(layers)] == layers
    assert repl.run("print(Feeds.count)") == [str(-(-len(layers) // 4096))]  # of the watchdog
    pieces = [TOKENS[:1], TOKENS[1:], [7, 7, 7, 7]]
    assert repl.run(FEED.format(pieces=pieces)) == expected(model, pieces)
    # They are still there after the model is closed: now only read.
    bursts, before = chip.bursts, bytes(chip.memory)
    assert repl.run("model.close()" + LOAD + FEED.format(pieces=pieces)) == [
        "loaded",
        *expected(model, pieces),
    ]
    assert bytes(chip.memory) == before
    assert chip.bursts - bursts < (2 + sum(map(len, pieces))) * len(layers) // PSRAM_BURST


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]


def test_wrong_or_missing_layers_are_refused(start: Start) -> None:
    resident, layers = split(small_model())
    rom = {"small.bitnet": resident}
    (line,) = start(new_chip(), {"small.layers": flipped(layers)}, rom).run(LOAD)
    assert line == "/rom/small.bitnet: its .layers file is another model's, or PSRAM is faulty"
    (line,) = start(new_chip(), {}, rom).run(LOAD)
    missing = "PSRAM does not hold its layers, and there is no small.layers: copy it to the board"
    assert line == f"/rom/small.bitnet: {missing}"
    (line,) = start(None, {"small.layers": layers}, rom).run(LOAD)
    assert line.startswith("PSRAM for the model's layers: no PSRAM at its pins")
    (line,) = start(new_chip(), {"small.layers": layers, CONFIG_NAME: b"WEIGHTS = 'copied'\n"}, rom).run(LOAD)
    assert line == "/rom/small.bitnet: its layers are in a file of their own: it needs a board with PSRAM"
    stuck = {len(layers) // 2: (4, ~layers[len(layers) // 2] & 4)}
    (line,) = start(new_chip(stuck=stuck), {"small.layers": layers}, rom).run(LOAD)
    assert line == "/rom/small.bitnet: its .layers file is another model's, or PSRAM is faulty"


def test_layers_in_psram_without_a_file(start: Start) -> None:
    """After a soft reset they are as they were; one flipped bit of them is found."""
    resident, layers = split(small_model())
    chip = new_chip()
    chip.memory[: len(layers)] = layers
    repl = start(chip, {}, {"small.bitnet": resident})
    assert repl.run(LOAD) == ["loaded"]
    chip.memory[: len(layers)] = flipped(layers)
    (line,) = repl.run("model.close()" + LOAD)
    assert "PSRAM does not hold its layers" in line


def test_fetching_overlaps_computing(start: Start) -> None:
    """Layers from PSRAM take less than reading them and computing with them, one after the other.

    How much less is measured in tests/bench: the emulator executes at most one instruction of PIO for one of
    the processor's, so that reading takes longer here than computing.
    """
    model = random_model(ModelConfig(64, 128, 352, 4, 8, 4, 16, window=4, weight_type=TERNARY), 3)
    resident, layers = split(model)
    chip = new_chip()
    chip.memory[: len(layers)] = layers
    cycles = []
    for rom in ({"m.bitnet": model}, {"m.bitnet": resident}):
        repl = start(chip, {}, rom)
        repl.run(LOAD + "ids = array('H', [1])\nmodel.feed(ids, 1)")
        before, chip.selected_ns = repl.pico.cycles, 0
        repl.run("model.feed(ids, 1)")
        cycles.append(repl.pico.cycles - before)
    in_place, streamed = cycles
    fetching = chip.selected_ns // 8
    assert streamed < 0.9 * (in_place + fetching)


def test_a_model_larger_than_flash_and_sram(start: Start) -> None:
    """Than both of a Pico's together. The chip is as after loading, which takes an emulator too long."""
    config = ModelConfig(256, 256, 544, 32, 8, 2, 32, window=8, weight_type=BINARY)
    model = random_model(config, 6)
    resident, layers = split(model)
    assert len(layers) > PICO_FLASH_AND_SRAM
    chip = new_chip()
    chip.memory[: len(layers)] = layers
    repl = start(chip, {}, {"large.bitnet": resident})
    assert repl.run(LOAD) == ["loaded"]
    pieces = [TOKENS]
    assert repl.run(FEED.format(pieces=pieces)) == expected(model, pieces)
