"""A compiler and the programs beside it."""

import subprocess
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Toolchain:
    """For one architecture of native modules."""

    prefix: str
    """What goes before "gcc", "ld" or "objdump": the path up to there."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that these programs need besides."""

    def version(self) -> str:
        """Of the compiler, such as "12.2.1"."""
        command = [self.prefix + "gcc", "-dumpfullversion"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
