# AT commands over TCP: for the simulated board, and in networks that are trusted. Nobody has to log in.

import asyncio

from micropython import const

_CLIENTS = const(2)


async def serve(service, port: int) -> None:
    """Serve clients that connect to a port, on loopback where the host is a PC."""
    connected = 0

    async def connect(reader, writer) -> None:
        nonlocal connected
        if connected < _CLIENTS:
            connected += 1
            await service.serve(reader, writer)
            connected -= 1
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(connect, _address(), port)
    await server.wait_closed()


def _address() -> str:
    import sys  # noqa: PLC0415

    return "127.0.0.1" if sys.platform in ("linux", "darwin") else "0.0.0.0"
