"""`bitnet-cli validate`: does the board compute what the host computes?"""

import argparse
import json
from dataclasses import asdict

from .. import extras
from ..errors import BitnetError
from .arguments import add_json, add_model, add_port

HELP = "compare a board's tokens, logits and answers with the host's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_port(parser)
    add_model(parser)
    add_json(parser, "one JSON object per check")


def run(args: argparse.Namespace) -> None:
    """Compare, print; an error if anything differs."""
    extras.require("board")
    from ..measure.reference import REFERENCE_PHRASES
    from ..measure.validate import validate

    checks = validate(args.port, args.model, REFERENCE_PHRASES)
    for check in checks:
        if args.json:
            print(json.dumps(asdict(check)))
        else:
            print(f"{'ok' if check.is_good else 'DIFFERENT':10} {check.count:3} {check.name}")
    bad = [check.difference for check in checks if check.difference]
    if bad:
        raise BitnetError(f"{bad[0]}: deploy again, and if it stays, report it")
