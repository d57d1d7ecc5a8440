"""`bitnet-cli deploy`: package, native module and model onto a board."""

import argparse
import json
from dataclasses import asdict

from .. import extras
from ..boards.board import read_board
from ..boards.config import read_config
from .arguments import add_board, add_config, add_json, add_model, add_port

HELP = "copy the package, the native module and a model onto a board that runs MicroPython"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_board(parser)
    add_port(parser)
    add_model(parser)
    add_config(parser, "as the unit is configured already")
    add_json(parser, "what was done as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Deploy, print what was written."""
    extras.require("board")
    from ..boards.deploy import AGENT, deploy
    from ..boards.link import Link
    from ..progress import ProgressBars

    board = read_board(args.board)
    config = read_config(args.config) if args.config else None
    with Link(args.port, AGENT) as link, ProgressBars() as progress:
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
