"""The device package, unchanged, on three processors that MicroPython's QEMU port emulates."""

import binascii
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import serial
from bitnet_cli.boards.at import AtClient, quote
from bitnet_cli.boards.link import Link
from bitnet_cli.emulation.simulator import SimulatedBoard
from bitnet_cli.measure.reference import REFERENCE_PHRASES
from bitnet_cli.measure.validate import validate
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.paths import STOCK_MODEL
from support.patience import PATIENCE
from support.qemu_board import MACHINES, QemuBoard

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

INSTRUCTION_SHIFT = 10  # with -icount an instruction takes 2^10 ns of the emulated time, whatever it is
PIECES, PIECE = 4, 9  # tokens at once: most go through the model in pairs, the last one alone

# Beside checks.py, whose model this is.
LOGITS = """
logits = bytearray(4 * _model.vocab_size)
for piece in {pieces}:
    _model.feed(array("H", piece), len(piece))
    _model.logits(logits)
    print(binascii.hexlify(logits).decode())
"""

DURATION = """
session = Session(_model)
started = time.ticks_us()
session.infer("Set the kitchen to 21 degrees")
print(time.ticks_diff(time.ticks_us(), started))
"""

UNALIGNED_READ = (
    b"import uctypes; uctypes.struct(0x20000001, {'word': uctypes.UINT32}, uctypes.NATIVE).word\r"
)


@pytest.fixture(params=MACHINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def board(name: str) -> Iterator[QemuBoard]:
    with QemuBoard(name) as board:
        yield board


def session(at: AtClient) -> list[str]:
    """The lines of a conversation, without the milliseconds in them."""
    lines: list[str] = []
    for command in ("AT", "AT+MODEL?", *(f"AT+INFER={quote(phrase)}" for phrase in REFERENCE_PHRASES)):
        response = at.command(command)
        lines += [*response.lines, response.final]
    return [re.sub(r"^(\+INFER: .*),\d+,(\d+,0)$", r"\1,*,\2", line) for line in lines]


def test_answers_as_the_simulated_board_does(board: QemuBoard) -> None:
    with SimulatedBoard() as simulated, AtClient(simulated.port) as at:
        expected = session(at)
    with AtClient(board.port, timeout=PATIENCE) as at:
        at.wait_until_ready(PATIENCE)
        assert session(at) == expected
    assert sum(line.startswith("+INFER: ") and ",*," in line for line in expected) == len(REFERENCE_PHRASES)


def test_logits(name: str, board: QemuBoard, record_property: Callable[..., None]) -> None:
    """Byte for byte the oracle's, also when there are more tokens than the window holds."""
    record_property("bit_exact", ("the stock model", f"qemu-{name}"))
    oracle = Oracle(STOCK_MODEL.read_bytes())
    assert oracle.window < PIECES * PIECE
    tokens = np.random.default_rng(3).integers(0, oracle.config.vocab_size, (PIECES, PIECE)).tolist()
    with Link(board.port, "checks.py") as link:
        printed = link.run(LOGITS.format(pieces=tokens)).split()
    for piece, logits in zip(tokens, printed, strict=True):
        oracle.feed(piece)
        assert binascii.unhexlify(logits) == oracle.logits().astype("<i4").tobytes()


def test_validates_over_a_socket(board: QemuBoard) -> None:
    """REPL and AT commands one after the other on one line, as `bitnet-cli validate` has them."""
    for check in validate(board.port, STOCK_MODEL, REFERENCE_PHRASES):
        assert check.is_good, check


def test_cortex_m0_traps_unaligned_reads() -> None:
    """Or the passing tests above would not show that there are none."""
    with QemuBoard("cortex_m0") as board, serial.serial_for_url(board.port, timeout=PATIENCE) as line:
        assert line.read_until(b"ready\r\n").endswith(b"ready\r\n")
        line.write(b"\x03")
        assert line.read_until(b">>> ").endswith(b">>> ")
        line.write(UNALIGNED_READ)
        assert line.read_until(b"HardFault").endswith(b"HardFault")


def instructions(name: str) -> int:
    """Of an inference, interpreter included."""
    with (
        QemuBoard(name, "-icount", f"shift={INSTRUCTION_SHIFT}") as board,
        Link(board.port, "checks.py") as link,
    ):
        microseconds: int = link.ask(DURATION)
    return (1000 * microseconds) >> INSTRUCTION_SHIFT


def test_instructions_are_repeatable(name: str) -> None:
    """But for a few, because Ctrl-C never comes at the same moment; `tests/run … -rP` prints the number."""
    one, other = instructions(name), instructions(name)
    print(f"{name}: {one:,} instructions")
    assert abs(one - other) < one / 10_000
