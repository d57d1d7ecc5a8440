"""`bitnet-cli bench`: measurements, each with the command that repeats it."""

import argparse
import json
from pathlib import Path

from ..accuracy import measure
from ..paths import STOCK_MODEL
from ..phrases import read_phrases

HELP = "measure a model: `bench accuracy` answers a phrase file on the simulated board"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="what")
    accuracy = kinds.add_parser("accuracy", help="accuracy in MicroPython on the simulated board")
    accuracy.add_argument(
        "test", type=Path, help="held-out phrases (.jsonl, .csv) with `text`, `intent` and `slots`"
    )
    accuracy.add_argument(
        "--model", type=Path, default=STOCK_MODEL, help="a .bitnet file (default: the stock model)"
    )
    accuracy.add_argument(
        "--errors", action="store_true", help="also print each phrase that was answered wrongly"
    )
    accuracy.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    result = measure(args.model, read_phrases(args.test))
    if args.json:
        print(json.dumps(result.as_dict()))
        return
    if args.errors:
        for phrase, answer in result.errors:
            answered = f"{answer.intent} {answer.slots} {answer.confidence}‰"
            print(f"{phrase.text!r}: {answered}, not {phrase.intent} {phrase.slots}")
    print(result.as_text())
