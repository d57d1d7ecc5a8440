"""A board's REPL, over mpremote's transport, with a script of device/tools/ running there."""

import ast
import contextlib
import io
import json
import re
import struct
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from ..errors import BitnetError
from ..paths import DEVICE_TOOLS

_CHUNK = 128  # bytes, which a UART's REPL buffers
_INTERRUPT = 3  # Ctrl-C
_TRIES = 3
_READ_TIMEOUT = 2.0  # seconds
_ANSWER_TIMEOUT = 60.0
# A unit's watchdog goes on when its program is stopped, and a script takes long over a slow line. Through
# this alias of CTRL a one clears ENABLE: RP2040 datasheet, 2.1.2 and 4.7.6.
_STOP_WATCHDOG = """import sys, machine
if sys.platform == "rp2":
 machine.mem32[0x400DB000 if "RP2350" in sys.implementation._machine else 0x4005B000] = 1 << 30"""
# struct.error: mpremote takes a header to be there without looking.
_FAULTS = (TransportError, serial.SerialException, OSError, struct.error)


class LinkError(BitnetError):
    """The board cannot be reached or the connection broke; what was being done can be done again."""


class Link:
    """A board whose program has been stopped, until close() starts it again.

    script: one of device/tools/, whose functions ask() and send() call.
    """

    def __init__(self, port: str, script: str) -> None:
        self.port = port
        try:
            self._transport = SerialTransport(port, timeout=_READ_TIMEOUT)
        except (*_FAULTS, ValueError):
            raise LinkError(
                f"cannot open the port {port}: is the board connected, and is no other program using it?"
            ) from None
        try:
            self._start(script)
        except BaseException:
            self._hang_up()
            raise

    def __enter__(self) -> "Link":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, script: str) -> None:
        for attempt in range(_TRIES):
            try:
                # It prints what it does not understand.
                with contextlib.redirect_stdout(io.StringIO()):
                    self._transport.enter_raw_repl()
                break
            except TransportError:
                if attempt == _TRIES - 1:
                    raise LinkError(
                        f"no MicroPython REPL answers at {self.port}: reset the board and try again"
                    ) from None
            except _FAULTS as error:
                raise self._as_error(error) from None
        self.run(_STOP_WATCHDOG)
        self.run(_shortened((DEVICE_TOOLS / script).read_text(encoding="utf-8")))

    def run(self, code: str) -> bytes:
        """Run a piece of MicroPython; return what it prints. Raises BitnetError with what it raises."""
        try:
            self._transport.exec_raw_no_follow(code)
            return self._follow()
        except _FAULTS as error:
            raise self._as_error(error) from None

    def _follow(self) -> bytes:
        """Return what the running code prints. Raises BitnetError with what it raises."""
        output, error = self._transport.follow(timeout=_ANSWER_TIMEOUT)
        if error:
            raise self._refusal(error)
        printed: bytes = output
        return printed

    def ask(self, call: str) -> Any:
        """Run a call; return the JSON that it prints."""
        return json.loads(self.run(call))

    def send(self, call: str, data: bytes) -> Iterator[int]:
        """Start a call that receives data, and send it; yields how much is there."""
        try:
            self._transport.exec_raw_no_follow(call)
            for at in range(0, len(data), _CHUNK):
                self._transport.serial.write(_without_interrupt(data[at : at + _CHUNK]))
                self._wait_for_dot()
                yield min(at + _CHUNK, len(data))
            self._follow()
        except _FAULTS as error:
            raise self._as_error(error) from None

    def _wait_for_dot(self) -> None:
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while time.monotonic() < deadline:
            byte = self._transport.serial.read(1)
            if byte == b".":
                return
            if byte == b"\x04":  # the call has ended early
                raise self._refusal(self._transport.read_until(1, b"\x04", timeout=5).rstrip(b"\x04"))
        raise LinkError(f"the board at {self.port} has stopped answering: connect it again and repeat")

    def _refusal(self, error: bytes) -> BitnetError:
        lines = error.decode(errors="replace").strip().splitlines() or ["nothing"]
        return BitnetError(f"the board at {self.port} says: {lines[-1]}")

    def _as_error(self, fault: Exception) -> LinkError:
        reason = "" if isinstance(fault, TransportError | struct.error) else f" ({fault})"
        return LinkError(f"the connection to {self.port} broke{reason}: connect the board again and repeat")

    def close(self) -> None:
        """Start the board's own program and hang up."""
        with contextlib.suppress(*_FAULTS):
            self._transport.exit_raw_repl()
            self._transport.serial.write(b"\x04")  # a soft reset
            # A socket that is closed with something unread in it may take back what was written.
            self._transport.read_until(1, b"soft reboot\r\n", timeout=_READ_TIMEOUT)
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(serial.SerialException, OSError):
            self._transport.close()


def _without_interrupt(chunk: bytes) -> bytes:
    """Return a byte, and a chunk exclusive-ored with it so that none of them is Ctrl-C."""
    used = set(chunk)
    mask = next(mask for mask in range(256) if mask != _INTERRUPT and mask ^ _INTERRUPT not in used)
    return bytes([mask, *(byte ^ mask for byte in chunk)])


def _shortened(source: str) -> str:
    """Drop a script's comments, docstrings and wide indentation: a REPL takes it character by character."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return re.sub(r"^ +", lambda blanks: " " * (len(blanks[0]) // 4), ast.unparse(tree), flags=re.MULTILINE)
