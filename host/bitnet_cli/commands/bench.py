"""`bitnet-cli bench`: measurements, each with the command that repeats it."""

import argparse
import json
from pathlib import Path

from .. import extras
from ..boards.board import read_board
from ..measure.accuracy import measure
from ..measure.reference import REFERENCE_PHRASES
from ..phrases.phrases import read_phrases
from ..progress import ProgressBars
from .arguments import add_board, add_json, add_model, add_port

HELP = "measure: the `accuracy` of a model, the cycles of the `kernels`, the latency of a `board`"
# Those of emulation/machines.py, which needs packages that the other commands do without.
TARGETS = ("cortex-m0plus", "cortex-m7", "rv32imc", "x86-64", "xtensa")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="what")
    accuracy = kinds.add_parser("accuracy", help="accuracy in MicroPython on the simulated board")
    accuracy.add_argument(
        "test", type=Path, help="held-out phrases (.jsonl, .csv) with `text`, `intent` and `slots`"
    )
    add_model(accuracy)
    accuracy.add_argument(
        "--errors", action="store_true", help="also print each phrase that was answered wrongly"
    )
    accuracy.set_defaults(measure=_accuracy)
    kernels = kinds.add_parser(
        "kernels", help="cycles and instructions of the shipped machine code, counted in emulators"
    )
    kernels.add_argument(
        "--target", nargs="+", choices=TARGETS, default=list(TARGETS), help="processors (default: all)"
    )
    kernels.add_argument("--chart", type=Path, help="also draw the figures into an .svg or a .png")
    kernels.set_defaults(measure=_kernels)
    board = kinds.add_parser("board", help="latency and memory of a board, connected or emulated")
    add_board(board)
    where = board.add_mutually_exclusive_group(required=True)
    add_port(where, required=False)
    where.add_argument(
        "--emulate", action="store_true", help="build firmware and count on an emulated RP2040"
    )
    add_model(board)
    board.add_argument("--chart", type=Path, help="also draw the latencies into an .svg or a .png")
    board.set_defaults(measure=_board)
    for kind in (accuracy, kernels, board):
        add_json(kind, "the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    args.measure(args)


def _accuracy(args: argparse.Namespace) -> None:
    result = measure(args.model, read_phrases(args.test))
    if args.json:
        print(json.dumps(result.as_dict()))
        return
    if args.errors:
        for phrase, answer in result.errors:
            answered = f"{answer.intent} {answer.slots} {answer.confidence}‰"
            print(f"{phrase.text!r}: {answered}, not {phrase.intent} {phrase.slots}")
    print(result.as_text())


def _kernels(args: argparse.Namespace) -> None:
    extras.require("bench")
    from ..measure import chart, kernel_bench, kernel_report

    if args.chart:
        chart.check_chart_path(args.chart)
    result = kernel_bench.run(args.target, ProgressBars())
    print(json.dumps(result.as_dict(), indent=1) if args.json else kernel_report.as_text(result))
    if args.chart:
        kernel_report.draw(result, args.chart)


def _board(args: argparse.Namespace) -> None:
    extras.require("board")
    from ..measure import board_bench, board_report, chart

    if args.chart:
        extras.require("bench")
        chart.check_chart_path(args.chart)
    board = read_board(args.board)
    if args.emulate:
        result = board_bench.bench_emulated(board, args.model, REFERENCE_PHRASES, ProgressBars())
    else:
        result = board_bench.bench_port(args.port, board, args.model, REFERENCE_PHRASES, ProgressBars())
    print(json.dumps(result.as_dict(), indent=1) if args.json else board_report.as_text(result))
    if args.chart:
        board_report.draw(result, args.chart)
