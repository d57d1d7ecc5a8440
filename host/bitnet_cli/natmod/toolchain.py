"""A compiler and the programs beside it."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BitnetError


@dataclass(frozen=True)
class Toolchain:
    """For one architecture of native modules."""

    prefix: str
    """What goes before "gcc", "ld" or "objdump": the path up to there."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that these programs need besides."""

    def run(self, program: str, arguments: Sequence[str | Path], purpose: str) -> str:
        """What a program such as "gcc" prints. Raises BitnetError, with the purpose, if it fails."""
        result = subprocess.run(
            [self.prefix + program, *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode != 0:
            raise BitnetError(f"{purpose} failed:\n{result.stderr[-2000:]}")
        return result.stdout

    def version(self) -> str:
        """Of the compiler, such as "12.2.1"."""
        return self.run("gcc", ["-dumpfullversion"], "asking the compiler for its version").strip()
