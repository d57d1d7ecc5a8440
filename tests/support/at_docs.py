"""Writes what device/AT.md says of each AT command: from the table, its docstrings and a simulated board.

`PYTHONPATH=tests python -m support.at_docs` brings the file up to date.
"""

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bitnet_cli.boards.at import AtClient, Response
from bitnet_cli.boards.board import read_board
from bitnet_cli.boards.image import build_image
from bitnet_cli.emulation.pico import Pico, PicoPort
from bitnet_cli.emulation.simulator import SimulatedBoard
from bitnet_cli.paths import DEVICE, STOCK_MODEL
from support.mosquitto import config_without_broker
from support.patience import PATIENCE
from support.pico_clocks import DieTemperature

PAGE = DEVICE / "AT.md"
BEGIN = "<!-- The commands: written by tests/support/at_docs.py -->\n"
END = "<!-- End of the commands -->\n"
_AT = DEVICE / "bitnet" / "at"


@dataclass(frozen=True)
class Row:
    """A command of the table."""

    name: str
    forms: tuple[str, ...]
    """`run`, `read`, `set`."""
    text: str
    examples: tuple[str, ...]


def rows() -> list[Row]:
    """The table, with the docstring of each command's first handler that has one."""
    tree = ast.parse((_AT / "table.py").read_text(encoding="utf-8"))
    docs = _docstrings(tree, "")
    for module in ("basic", "cloud", "fallback", "inference", "power", "upkeep"):
        docs |= _docstrings(ast.parse((_AT / f"{module}.py").read_text(encoding="utf-8")), f"{module}.")
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMANDS"
    )
    assert isinstance(table, ast.Tuple)
    return [_row(call, docs) for call in table.elts if isinstance(call, ast.Call)]


def _docstrings(tree: ast.Module, prefix: str) -> dict[str, str | None]:
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {prefix + function.name: ast.get_docstring(function) for function in functions}


def _row(call: ast.Call, docs: dict[str, str | None]) -> Row:
    name = ast.literal_eval(call.args[0])
    handlers = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if getattr(call.func, "id", "") == "Setting":
        handlers |= {"read": ast.unparse(call.args[2]), "set": ast.unparse(call.args[3])}
    documented = [docs[handler] for handler in handlers.values() if docs.get(handler)]
    assert len(documented) >= 1, f"AT{name} has no docstring"
    text, _, examples = str(documented[0]).partition("\n\n")
    forms = tuple(form for form in ("run", "read", "set") if form in handlers)
    return Row(name, forms, " ".join(text.split()), tuple(examples.split("\n")) if examples else ())


@contextmanager
def _boards() -> Iterator[Callable[[Row], AtClient]]:
    """The board on which a command shows what it does."""
    image = build_image(read_board("rp2040_pico"), STOCK_MODEL, print)
    with (
        SimulatedBoard() as stock,
        SimulatedBoard(DEVICE / "models" / "occupancy.bitnet") as office,
        SimulatedBoard(config=config_without_broker()) as online,
        PicoPort(Pico(image.flash(), [DieTemperature(27)])) as pico,
        AtClient(stock.port) as at_stock,
        AtClient(office.port) as at_office,
        AtClient(online.port) as at_online,
        AtClient(pico.port, timeout=PATIENCE) as at_pico,
    ):
        at_pico.wait_until_ready(PATIENCE)
        of = {"+FEAT": at_office, "+SYNC": at_online, "+DVFS": at_pico, "+ENERGY": at_pico, "+GMM": at_pico}
        yield lambda row: of.get(row.name, at_stock)


def section() -> str:
    """All commands, with exchanges that have just taken place."""
    with _boards() as board_for:
        return "\n".join(_describe(row, board_for(row)) for row in rows())


def _describe(row: Row, client: AtClient) -> str:
    parameters = client.command(f"AT{row.name}=?").lines
    shown = {"run": "", "read": "?", "set": "=" + (parameters[0].partition(": ")[2] if parameters else "")}
    if re.fullmatch("[A-Z]", row.name):
        shown["set"] = shown["set"].lstrip("=").strip("[]")  # ATE0
    forms = ", ".join(f"`AT{row.name}{shown[form]}`" for form in row.forms)
    own = [example for example in row.examples if not example.startswith(("AT+LORA", "AT+AUTH"))]
    examples = own or [example for example in row.examples if example.startswith("AT" + row.name)]
    exchange = "".join(_exchange(example, client.command(example)) for example in examples)
    return f"{forms}: {row.text}\n\n```\n{exchange}```\n"


def _exchange(command: str, response: Response) -> str:
    return "".join(line + "\n" for line in (f"> {command}", *response.lines, response.final))


def updated(page: str) -> str:
    """Return the page with the section as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{section()}{END}{after}"


def without_measurements(text: str) -> str:
    """Milliseconds, bytes and versions differ from run to run."""
    return re.sub(r"\d+", "0", text)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
