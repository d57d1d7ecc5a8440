"""How far long work is: told to one kind of function, and shown on standard error."""

import sys
from types import TracebackType
from typing import NoReturn, Protocol, Self

from tqdm import tqdm

# Seconds between two updates: a log file wants fewer than a person.
_INTERVAL = 0.1 if sys.stderr.isatty() else 10


class Progress(Protocol):
    """Is told the stage that long work is in, how much of it is done and how much there is, and a note.

    A stage whose length is not known has a `total` of 0.
    """

    def __call__(self, stage: str, done: int = 0, total: int = 0, note: str = "", /) -> None: ...


def silent(stage: str, done: int = 0, total: int = 0, note: str = "", /) -> None:
    """Show nothing."""


class ProgressBars:
    """Shows a bar for each stage whose length is known, and a line for the others."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int = 0, total: int = 0, note: str = "", /) -> None:
        """Move the bar of `stage` to `done` of `total`; a new stage or a smaller `done` begins a new bar."""
        if total == 0:
            self.close()
            print(stage, file=sys.stderr)
            return
        if self._bar is None or stage != self._stage or done < self._bar.n:
            self.close()
            self._bar, self._stage = tqdm(total=total, desc=stage, mininterval=_INTERVAL), stage
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the current bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
