"""A compiler and the programs beside it."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BitnetError


@dataclass(frozen=True)
class Toolchain:
    """The compiler and its companions for one architecture of native modules."""

    prefix: str
    """The path of the programs, up to "gcc", "ld" or "objdump"."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables that these programs need."""

    def run(self, program: str, arguments: Sequence[str | Path], purpose: str) -> str:
        """Run a program such as "gcc"; return its output. Raises BitnetError with the purpose."""
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
        """Return the compiler's version, such as "12.2.1"."""
        return self.run("gcc", ["-dumpfullversion"], "asking the compiler for its version").strip()
