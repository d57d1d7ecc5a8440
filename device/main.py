# Start-up of a board: answers AT commands where the REPL would be, and where config.toml says besides.

import asyncio
import sys

import machine
from bitnet.unit import Unit

# Before the imports below, while the heap is in one piece: the model's state takes a large part of it.
unit = Unit()

from bitnet.at import Service  # noqa: E402
from bitnet.at.stdio import StdioReader  # noqa: E402


def main() -> None:
    service = Service(unit)
    asyncio.run(service.run([_stream()], _servers(service)))


def _stream() -> tuple:
    """Open the UART that board.toml names for AT commands; without one, use the REPL's line."""
    try:
        from bitnet_board import UART  # noqa: PLC0415
    except ImportError:
        return StdioReader(), asyncio.StreamWriter(sys.stdout.buffer, {})
    number, baudrate, tx, rx = UART
    uart = machine.UART(number, baudrate=baudrate, tx=machine.Pin(tx), rx=machine.Pin(rx), rxbuf=512)
    return asyncio.StreamReader(uart), asyncio.StreamWriter(uart, {})


def _servers(service: Service) -> list:
    """List what clients can connect to, as config.toml says."""
    servers = []
    port = unit.config("TCP", 0)
    if port:
        servers.append(_serve_tcp(service, port))
    name = unit.config("BLE", "")
    if name:
        servers.append(_serve_ble(service, name))
    return servers


# Not every firmware has what these two import.


async def _serve_tcp(service: Service, port: int) -> None:
    from bitnet.at import tcp  # noqa: PLC0415

    await tcp.serve(service, port)


async def _serve_ble(service: Service, name: str) -> None:
    from bitnet.at import ble  # noqa: PLC0415

    await ble.serve(service, name)


main()
