"""Which patterns a rule may have, judged by the very file that judges them on a board.

Rules that are made here must pass there, so there is one judge, in device/. It is the only module of the
device package that the host runs itself: it is plain Python, while the others need MicroPython.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ..paths import DEVICE


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{__name__}.device", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_judge = _load(DEVICE / "bitnet" / "patterns.py")

check: Callable[[str], int] = _judge.check
"""Check a pattern; return how many groups it has. Raises ValueError if a rule may not have it."""

check_line: Callable[[str], None] = _judge.check_line
"""Check a line of a file of rules: `intent, pattern, slots` or `=slot, pattern`. Raises ValueError."""
