# Start-up of a board: answers AT commands where the REPL would be, and where config.toml says besides.

import asyncio
import sys

import machine
from bitnet.unit import Unit

# First of all, while the heap is in one piece.
unit = Unit()

from bitnet.at import Service  # noqa: E402
from bitnet.at.stdio import StdioReader  # noqa: E402


def main() -> None:
    service = Service(unit)
    asyncio.run(service.run([_stream()], _servers(service)))


def _stream() -> tuple:
    """The UART of board.toml, if it is to be used; else where the REPL is."""
    try:
        from bitnet_board import UART  # noqa: PLC0415
    except ImportError:
        return StdioReader(), asyncio.StreamWriter(sys.stdout.buffer, {})
    number, baudrate, tx, rx = UART
    uart = machine.UART(number, baudrate=baudrate, tx=machine.Pin(tx), rx=machine.Pin(rx), rxbuf=512)
    return asyncio.StreamReader(uart), asyncio.StreamWriter(uart, {})


def _servers(service: Service) -> list:
    """What clients connect to."""
    servers = []
    port = unit.config("TCP", 0)
    if port:
        from bitnet.at import tcp  # noqa: PLC0415

        servers.append(tcp.serve(service, port))
    name = unit.config("BLE", "")
    if name:
        from bitnet.at import ble  # noqa: PLC0415

        servers.append(ble.serve(service, name))
    return servers


main()
