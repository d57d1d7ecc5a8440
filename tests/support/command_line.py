"""`bitnet-cli` as a user runs it."""

import os
import subprocess
import sys

from .patience import PATIENCE

BITNET_CLI = (sys.executable, "-m", "bitnet_cli.cli")


def run(*arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    """To its end, with this as its standard input; a byte that is not UTF-8 is written as \\udcXX."""
    return subprocess.run(
        [*BITNET_CLI, *map(str, arguments)],
        input=typed,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},  # as most locales have it
    )
