"""`bitnet-cli sim`: the simulated board alone."""

import argparse
import json

from .. import extras
from ..boards.board import read_board
from ..boards.config import DEFAULT, UnitConfig, read_config
from ..emulation.simulator import SIM, SimulatedBoard
from .arguments import add_board, add_config, add_json, add_model

HELP = "start a simulated board and print the port at which it answers AT commands"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_board(parser, "simulated, or an emulated RP2040", SIM.name)
    add_model(parser)
    add_config(parser)
    add_json(parser, "port, model and fault as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Start the board, print its port, and wait until Ctrl-C."""
    config = read_config(args.config) if args.config else DEFAULT
    if args.board == SIM.name:
        _simulate(args, config)
    else:
        _emulate(args, config)


def _emulate(args: argparse.Namespace, config: UnitConfig) -> None:
    extras.require("board")
    from ..boards.image import build_image
    from ..emulation.pico import Pico, PicoPort, require_rp2040
    from ..progress import ProgressBars

    board = read_board(args.board)
    require_rp2040(board)
    image = build_image(board, args.model, ProgressBars(), config=config)
    with PicoPort(Pico(image.flash())) as emulated:
        if args.json:
            print(json.dumps({"port": emulated.port, "model": str(args.model), "fault": None}), flush=True)
        else:
            print(
                f"The emulated {board.name} is at {emulated.port}, with USB as on a desk; Ctrl-C stops it.",
                flush=True,
            )
        emulated.wait()


def _simulate(args: argparse.Namespace, config: UnitConfig) -> None:
    config.check(SIM)
    with SimulatedBoard(args.model, config=config) as board:
        if args.json:
            print(
                json.dumps({"port": board.port, "model": str(args.model), "fault": board.fault}), flush=True
            )
        else:
            if board.fault:
                print(f"The board has no model: {board.fault}")
            print(f"The board answers AT commands at {board.port}; Ctrl-C stops it.", flush=True)
        board.wait()
