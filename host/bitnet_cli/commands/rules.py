"""`bitnet-cli rules`: fallback rules from phrases, without training a model."""

import argparse
from pathlib import Path

HELP = "make fallback rules from phrase files, as `bitnet-cli train` does, but without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("phrases", nargs="+", type=Path, help="phrase files, or folders of them")
    parser.add_argument("--output", required=True, type=Path, help="the .rules file to write")


def run(args: argparse.Namespace) -> None:
    """Make the rules, write them, print their size."""
    from .. import extras

    extras.require("train")
    from ..files import write_atomically
    from ..templates import load
    from ..train import Recipe, make_rules

    rules = make_rules(load(args.phrases), Recipe())
    write_atomically(args.output, rules.encode())
    print(f"{len(rules.splitlines()) - 1} lines, {len(rules.encode()):,} bytes  {args.output}")
