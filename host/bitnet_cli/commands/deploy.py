"""`bitnet-cli deploy`: package, native module and model onto a board."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from .. import extras
from ..boards.board import board_names, read_board
from ..boards.config import read_config
from ..paths import STOCK_MODEL

HELP = "copy the package, the native module and a model onto a board that runs MicroPython"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--board", required=True, help=f"one of {', '.join(board_names())}")
    parser.add_argument("--port", required=True, help="serial port of the board, such as /dev/ttyACM0")
    parser.add_argument(
        "--model", type=Path, default=STOCK_MODEL, metavar="FILE", help="instead of the stock model"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a config.toml: what the unit is to do (default: as the unit is configured already)",
    )
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Deploy, print what was written."""
    extras.require("board")
    from ..boards.deploy import AGENT, deploy
    from ..boards.link import Link
    from ..progress import Progress

    board = read_board(args.board)
    config = read_config(args.config) if args.config else None
    with Link(args.port, AGENT) as link, Progress() as progress:
        done = deploy(link, board, args.model, progress, config)
    if args.json:
        print(json.dumps(asdict(done)))
        return
    for paths, what in ((done.written, "written"), (done.there_already, "there already")):
        for path in paths:
            print(f"{what:14} {path}")
    for path in done.kept:
        print(
            f"{'left as it was':14} {path}: it is not ours; start the service from it with bitnet.at.Service"
        )
    print("The board starts anew; `bitnet-cli validate` checks that it answers as the host does.")
