"""`bitnet-cli at`: AT commands to a board, one by one or typed."""

import argparse
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path

from ..boards.at import ANSWER_TIMEOUT, AtClient, AtError, Response
from ..errors import BitnetError
from ..files import read_file
from .arguments import add_json, add_port

HELP = "send AT commands to a board: those given, or those typed, with history and completion"

_READY_TIMEOUT = 10.0  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "commands",
        nargs="*",
        metavar="command",
        help="such as 'AT+INFER=\"lights on\"'; the first that the board refuses ends it with status 2; "
        "without any they come from the input, all of it, with status 2 at the end if one was refused",
    )
    add_port(parser)
    parser.add_argument("--baudrate", type=int, default=115200)
    parser.add_argument(
        "--timeout", type=float, default=ANSWER_TIMEOUT, help="seconds for an answer (default %(default)g)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="what the one command wants after its prompt; its length and CRC-32 are appended to the command",
    )
    add_json(parser, "one JSON object per command")


def run(args: argparse.Namespace) -> None:
    """Send, print the replies. Raises BitnetError if the board refuses one of the commands given or piped."""
    if args.data and len(args.commands) != 1:
        raise BitnetError('--data goes with one command, such as \'AT+FILES="write","user.rules"\'')
    data = read_file(args.data) if args.data else None
    with AtClient(args.port, args.baudrate, args.timeout) as client:
        client.wait_until_ready(_READY_TIMEOUT)
        if data is not None:
            _show(args.commands[0], client.send(args.commands[0], data), args.json)
        elif args.commands:
            for command in args.commands:
                _show(command, client.command(command), args.json)
        elif sys.stdin.isatty():
            _offer_completion(client.command("AT+CLAC").lines)
            _converse(client, args.json)
        else:
            failed = _converse(client, args.json)
            if failed:
                raise BitnetError(f"{failed} of the commands failed")


def _show(command: str, response: Response, as_json: bool) -> None:
    _print(command, response, as_json)
    if not response.ok:
        raise BitnetError(f"the board refuses {command}: {response.final}")


def _print(command: str, response: Response, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"command": command} | asdict(response), ensure_ascii=False), flush=True)
    else:
        print(*response.unsolicited, *response.lines, response.final, sep="\n", flush=True)


def _converse(client: AtClient, as_json: bool) -> int:
    """Send what is typed until the input ends; return how many commands failed."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        # A line that is not UTF-8 is one that cannot be sent, as others are.
        sys.stdin.reconfigure(errors="surrogateescape")
    failed = 0
    while True:
        try:
            command = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return failed
        if not command:
            continue
        try:
            response = client.command(command)
        except AtError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        _print(command, response, as_json)
        failed += not response.ok


def _offer_completion(commands: tuple[str, ...]) -> None:
    """Offer the board's commands at the Tab key, and earlier lines at the arrow keys."""
    try:
        import readline
    except ImportError:  # not on every system
        return

    def complete(text: str, state: int) -> str | None:
        fitting = [command for command in commands if command.startswith(text.upper())]
        return fitting[state] if state < len(fitting) else None

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
