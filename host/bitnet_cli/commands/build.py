"""`bitnet-cli build`: the native module for each architecture, or everything for a board's flash."""

import argparse
import sys
from pathlib import Path

from .. import extras
from ..boards.board import read_board
from ..boards.config import DEFAULT, read_config
from ..files import read_file
from ..natmod.build import ARCHITECTURES, build_into, module_path
from ..paths import DEVICE
from ..progress import ProgressBars
from .arguments import add_config, add_model

HELP = "build the native module for the boards' architectures, or all that a board's flash holds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--arch", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), help="default: all"
    )
    what.add_argument("--board", help="everything for its flash instead: firmware, model, file system")
    parser.add_argument(
        "--output", type=Path, help="folder for what is built (default: device/natmod, build/BOARD)"
    )
    add_model(parser)
    add_config(parser)
    parser.add_argument(
        "--firmware",
        type=Path,
        metavar="FILE",
        help="of --board, instead of building one: MicroPython's .bin",
    )


def run(args: argparse.Namespace) -> None:
    """Build, write, print sizes."""
    if args.board:
        _build_board(args)
    else:
        _build_modules(args)


def _build_board(args: argparse.Namespace) -> None:
    extras.require("board")
    from ..boards.image import build_image, write_image

    board = read_board(args.board)
    firmware = args.firmware and read_file(args.firmware)
    config = read_config(args.config) if args.config else DEFAULT
    image = build_image(board, args.model, ProgressBars(), firmware, config)
    for path in write_image(image, args.output or Path("build") / board.name):
        print(f"{path.stat().st_size:9,} bytes  {path}")


def _build_modules(args: argparse.Namespace) -> None:
    folder = args.output or DEVICE / "natmod"
    for module in build_into(folder, args.arch, ProgressBars()):
        path = module_path(folder, module.architecture)
        compiler = f"gcc {module.compiler_version}"
        print(f"{module.architecture:10} {module.text_size:6,} bytes of code  {compiler}  {path}")
        released = ARCHITECTURES[module.architecture].version
        if not module.compiler_version.startswith(released + "."):
            print(
                f"bitnet-cli build: warning: the released module comes from gcc {released}; "
                f"this one, from {module.compiler_version}, can differ in its bytes",
                file=sys.stderr,
            )
