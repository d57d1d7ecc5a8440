"""`bitnet-cli build`: the native module for each architecture."""

import argparse
import sys
from pathlib import Path

from ..build import ARCHITECTURES, build_into, module_path
from ..paths import DEVICE

HELP = "build the native module _bitnet.mpy for the boards' architectures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--arch", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), help="default: all"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=DEVICE / "natmod",
        help="folder for <arch>_6.3/_bitnet.mpy (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Build, write, print sizes."""
    built = build_into(args.output, args.arch, lambda line: print(line, file=sys.stderr))
    for module in built:
        path = module_path(args.output, module.architecture)
        compiler = f"gcc {module.compiler_version}"
        print(f"{module.architecture:10} {module.text_size:6,} bytes of code  {compiler}  {path}")
        released = ARCHITECTURES[module.architecture].version
        if not module.compiler_version.startswith(released + "."):
            print(
                f"bitnet-cli build: warning: the released module comes from gcc {released}; "
                f"this one, from {module.compiler_version}, can differ in its bytes",
                file=sys.stderr,
            )
