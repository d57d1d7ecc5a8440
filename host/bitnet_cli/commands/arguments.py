"""Arguments that several commands take, each declared once."""

import argparse
from pathlib import Path

from ..boards.board import board_names
from ..paths import STOCK_MODEL


def add_board(
    parser: argparse.ArgumentParser, purpose: str = "the board's name", default: str | None = None
) -> None:
    """Declare --board, required unless it has a default."""
    names = ", ".join(board_names())
    parser.add_argument(
        "--board",
        required=default is None,
        default=default,
        metavar="NAME",
        help=f"{purpose}: one of {names}" + (f" (default {default})" if default else ""),
    )


def add_port(parser: argparse._ActionsContainer, required: bool = True) -> None:
    """Declare --port: where the board is."""
    parser.add_argument(
        "--port",
        required=required,
        help="serial port of the board, such as /dev/ttyACM0, or socket://host:port",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare --model: a .bitnet file instead of the stock model."""
    parser.add_argument(
        "--model",
        type=Path,
        default=STOCK_MODEL,
        metavar="FILE",
        help="a .bitnet file (default: the stock model)",
    )


def add_config(parser: argparse.ArgumentParser, default: str = "the unit only answers") -> None:
    """Declare --config: what the unit is to do."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"a config.toml: what the unit is to do (default: {default})",
    )


def add_phrases(parser: argparse.ArgumentParser) -> None:
    """Declare the phrase files that come without a name."""
    parser.add_argument(
        "phrases", nargs="+", type=Path, help="phrase files, or folders of them (test.* is left out)"
    )


def add_json(parser: argparse.ArgumentParser, what: str = "the result as one JSON object") -> None:
    """Declare --json: the same for machines."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")
