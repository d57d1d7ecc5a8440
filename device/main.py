# Start-up of a board: loads the model and answers AT commands where the REPL would be.

import asyncio
import sys

import machine
from bitnet import ModelError, Session, load
from bitnet.at import Service
from bitnet.at.stdio import StdioReader


def main() -> None:
    session = None
    fault = ""
    try:
        session = Session(load())
    except ModelError as error:
        fault = str(error)
    except MemoryError:
        fault = "not enough memory for the model"
    reader, writer = _transport()
    asyncio.run(Service(reader, writer, session, fault).run())


def _transport() -> tuple:
    """The UART of board.toml, if it is to be used; else where the REPL is."""
    try:
        from bitnet_board import UART  # noqa: PLC0415
    except ImportError:
        return StdioReader(), asyncio.StreamWriter(sys.stdout.buffer, {})
    number, baudrate, tx, rx = UART
    uart = machine.UART(number, baudrate=baudrate, tx=machine.Pin(tx), rx=machine.Pin(rx), rxbuf=512)
    return asyncio.StreamReader(uart), asyncio.StreamWriter(uart, {})


main()
