"""The `bitnet-cli` command: parses arguments, calls the library, prints."""

import argparse
import importlib
import os
import sys

from . import __version__
from .errors import BitnetError

# Each module has HELP, add_arguments(parser) and run(args).
COMMANDS = (
    "demo",
    "sim",
    "at",
    "train",
    "rules",
    "export",
    "build",
    "deploy",
    "validate",
    "bench",
    "collect",
)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the process's exit status (2 for bad input, as argparse does)."""
    parser = argparse.ArgumentParser(
        prog="bitnet-cli", description="1-bit language models on microcontrollers, in MicroPython."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name in COMMANDS:
        command = importlib.import_module(f".commands.{name}", __package__)
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    try:
        args.run(args)
    except BitnetError as error:
        print(f"bitnet-cli {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
