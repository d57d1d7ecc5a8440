"""`bitnet-cli sim`: the simulated board alone."""

import argparse
import json
from pathlib import Path

from ..paths import STOCK_MODEL
from ..simulator import SimulatedBoard

HELP = "start a simulated board and print the port at which it answers AT commands"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=Path, default=STOCK_MODEL, metavar="FILE", help="instead of the stock model"
    )
    parser.add_argument("--json", action="store_true", help="print port, model and fault as one JSON object")


def run(args: argparse.Namespace) -> None:
    with SimulatedBoard(args.model) as board:
        if args.json:
            print(
                json.dumps({"port": board.port, "model": str(args.model), "fault": board.fault}), flush=True
            )
        else:
            if board.fault:
                print(f"The board has no model: {board.fault}")
            print(f"The board answers AT commands at {board.port}; Ctrl-C stops it.", flush=True)
        board.wait()
