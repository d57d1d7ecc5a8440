"""`bitnet-cli demo`: phrases to a simulated board, answers back."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

from ..boards.at import Answer, AtClient
from ..emulation.simulator import SimulatedBoard, check_phrase
from ..errors import BitnetError
from ..measure.reference import REFERENCE_PHRASES
from .arguments import add_json, add_model

HELP = "start a simulated board and ask it phrases over AT commands"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("phrases", nargs="*", metavar="phrase", help="instead of ten reference phrases")
    add_model(parser)
    add_json(parser, "one JSON object per phrase")
    parser.add_argument(
        "--interactive", action="store_true", help="answer the phrases typed, until the input ends"
    )


def run(args: argparse.Namespace) -> None:
    """Start the board, ask, print commands and answers."""
    for phrase in args.phrases:
        check_phrase(phrase)
    with SimulatedBoard(args.model) as board:
        if board.fault:
            raise BitnetError(f"the board cannot use the model: {board.fault}")
        with AtClient(board.port, trace=None if args.json else _print_line) as client:
            for phrase in args.phrases or (() if args.interactive else REFERENCE_PHRASES):
                _ask(client, phrase, args.json)
            if args.interactive:
                for phrase in _typed():
                    try:
                        check_phrase(phrase)
                        _ask(client, phrase, args.json)
                    except BitnetError as error:
                        print(error, file=sys.stderr)


def _ask(client: AtClient, phrase: str, as_json: bool) -> None:
    started = time.perf_counter()
    answer = client.infer(phrase)
    round_trip_ms = (time.perf_counter() - started) * 1000
    if as_json:
        print(json.dumps({"phrase": phrase, **asdict(answer)}, ensure_ascii=False), flush=True)
    else:
        print(f"  {_describe(answer)}; {round_trip_ms:.1f} ms with AT\n", flush=True)


def _describe(answer: Answer) -> str:
    slots = "".join(f" {name}={value!r}" for name, value in answer.slots.items())
    return f"{answer.intent}{slots}, {answer.confidence / 10:.1f} % sure, {answer.latency_ms} ms"


def _typed() -> Iterator[str]:
    """Yield the lines of the standard input that are not empty."""
    prompt = "phrase> " if sys.stdin.isatty() else ""
    while True:
        try:
            phrase = input(prompt).strip()
        except EOFError:
            return
        if phrase:
            yield phrase


def _print_line(direction: str, line: str) -> None:
    print(direction, line)
