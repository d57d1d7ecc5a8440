"""Fallback rules in an emulated RP2040's real firmware: its stack is 8 KB, and its cycles are counted."""

import pytest
from bitnet_cli.boards.image import build_image
from bitnet_cli.emulation.pico import Pico
from bitnet_cli.emulation.pico_repl import Repl
from bitnet_cli.paths import STOCK_MODEL
from support.pico_boards import BOARD, firmware

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

ROUND = "timer for 5 minutes water set the lights at on the of my "
LONG = [(ROUND * 5)[:245], "x" * 245, ("a " * 123)[:245], ("on " * 82)[:245], "1" * 245]
SCRIPT = """
import micropython
from bitnet.rules import Rules
rules = Rules()
def deepest():
    try:
        return deepest()
    except RuntimeError:
        return micropython.stack_use()
def answer(text, stack):
    if micropython.stack_use() < stack:
        return answer(text, stack)
    return rules.match(text)
end = deepest()
"""


@pytest.fixture(scope="module")
def repl() -> Repl:
    """With the rules open."""
    pico = Pico(build_image(BOARD, STOCK_MODEL, print, firmware()).flash())
    pico.wait_for_usb()
    pico.wait_for(b"ready\r\n")
    repl = Repl(pico)
    assert repl.run(SCRIPT) == []
    return repl


def test_rules_of_a_board_are_found(repl: Repl) -> None:
    assert repl.run("print(rules.path)") == ["/models/home.rules"]
    assert repl.run("print(rules.match('Turn on the lights in the Kitchen')[0])") == ["light_on"]


@pytest.mark.parametrize("text", LONG)
def test_three_kilobytes_of_stack_do_for_any_phrase(repl: Repl, text: str) -> None:
    repl.run(f"answer({text!r}, end - 3000)")
    assert repl.run("print(rules.skipped)") == ["0"]


def test_cycles(repl: Repl) -> None:
    """Flash not charged, which adds half as much to a short phrase."""
    for text, most in (("what's the temp?", 8_000_000), *((text, 30_000_000) for text in LONG)):
        before = repl.pico.cycles
        repl.run(f"rules.match({text!r})")
        cycles = repl.pico.cycles - before
        print(f"{cycles:,} cycles for {text[:30]!r}")
        assert cycles <= most
