"""`bitnet-cli rules`: fallback rules from phrases, without training a model."""

import argparse
import sys
from pathlib import Path

from .arguments import add_phrases

HELP = "make fallback rules from phrase files, as `bitnet-cli train` does, but without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_phrases(parser)
    parser.add_argument(
        "--output", required=True, type=Path, help="the .rules file to write, beside the model of that name"
    )


def run(args: argparse.Namespace) -> None:
    """Make the rules, write them, print their size."""
    from .. import extras

    extras.require("train")
    from ..files import require_file, write_atomically
    from ..phrases.templates import load
    from ..progress import ProgressBars
    from ..training.recipe import Recipe
    from ..training.train import make_rules

    require_file(args.output)
    book = load(args.phrases)
    for warning in book.warnings:
        print(f"bitnet-cli rules: {warning}", file=sys.stderr)
    with ProgressBars() as progress:
        rules = make_rules(book, Recipe(), progress)
    write_atomically(args.output, rules.encode())
    print(f"{len(rules.splitlines()) - 1} lines, {len(rules.encode()):,} bytes  {args.output}")
