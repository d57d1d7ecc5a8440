"""AT clients that others have written, unmodified: PyPI's pyatcommand and atlib."""

from collections.abc import Iterator
from contextlib import contextmanager

from atlib import AT_Device
from pyatcommand import AtClient as PyAtCommand

from .patience import PATIENCE


@contextmanager
def pyatcommand(port: str) -> Iterator[PyAtCommand]:
    """Connect as its manual says; it waits 0.3 s unless it is told otherwise."""
    client = PyAtCommand(port=port, baudrate=115200, command_timeout=PATIENCE)
    client.connect(retry_timeout=PATIENCE, autobaud=False)
    try:
        yield client
    finally:
        client.disconnect()


@contextmanager
def atlib(port: str) -> Iterator[AT_Device]:
    device = AT_Device(port, 115200)
    try:
        yield device
    finally:
        device.serial.close()
        device.serial = None
