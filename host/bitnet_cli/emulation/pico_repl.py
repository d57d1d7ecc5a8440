"""The raw REPL of an emulated board."""

import json
from typing import Any

from ..errors import BitnetError
from .pico import Pico
from .pico_timing import TimedPico

_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
_END = b"\x04>"


class Repl:
    """The REPL of an emulated board whose program has been stopped.

    A program must have started: a Ctrl-C that comes before is lost.
    """

    def __init__(self, pico: Pico) -> None:
        self.pico = pico
        pico.wait_for_usb()
        pico.send(b"\r\x03\x03\x01")
        pico.wait_for(_PROMPT)
        pico.send(b"\x04")  # a soft reset
        pico.wait_for(_PROMPT)

    def run(self, code: str, timed: TimedPico | None = None) -> list[str]:
        """Return the lines that a piece of MicroPython prints, run with flash charged or without.

        Raises BitnetError with what it raises; the traceback is in its notes.
        """
        pico = self.pico
        pico.send(code.encode() + b"\x04")
        if timed is not None:
            timed.run(lambda: pico.received.endswith(_END))
        output, error = pico.wait_for(_END).removeprefix(b"OK").removesuffix(_END).decode().split("\x04")
        if error:
            fault = BitnetError(f"the emulated board says: {error.strip().splitlines()[-1]}")
            fault.add_note(error)
            raise fault
        return output.splitlines()

    def ask(self, call: str, timed: TimedPico | None = None) -> Any:
        """Run a call; return the JSON that it prints."""
        return json.loads("".join(self.run(call, timed)))
