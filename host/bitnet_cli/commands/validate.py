"""`bitnet-cli validate`: does the board compute what the host computes?"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from .. import extras
from ..errors import BitnetError
from ..paths import STOCK_MODEL
from .demo import PHRASES

HELP = "compare a board's tokens, logits and answers with the host's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--port", required=True, help="serial port of the board, such as /dev/ttyACM0")
    parser.add_argument(
        "--model", type=Path, default=STOCK_MODEL, metavar="FILE", help="instead of the stock model"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per check")


def run(args: argparse.Namespace) -> None:
    """Compare, print; an error if anything differs."""
    extras.require("board")
    from ..measure.validate import validate

    checks = validate(args.port, args.model, PHRASES)
    for check in checks:
        if args.json:
            print(json.dumps(asdict(check)))
        else:
            print(f"{'ok' if check.is_good else 'DIFFERENT':10} {check.count:3} {check.name}")
    bad = [check.difference for check in checks if check.difference]
    if bad:
        raise BitnetError(f"{bad[0]}: deploy again, and if it stays, report it")
