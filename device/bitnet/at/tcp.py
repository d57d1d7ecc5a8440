# AT commands over TCP, without a login: for the simulated board, and for networks that are trusted.

import asyncio

from micropython import const

_CLIENTS = const(2)


async def serve(service, port: int) -> None:
    """Serve clients that connect to a port; on a PC, that is a port of the loopback interface."""
    clients: list = []  # the first is the one that has been silent longest

    async def connect(reader, writer) -> None:
        client = _Client(reader, clients)
        if len(clients) == _CLIENTS:
            clients[0].task.cancel()  # it may have vanished without a word
        clients.append(client)
        try:
            await service.serve(client, writer)
        finally:
            clients.remove(client)
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(connect, _address(), port)
    await server.wait_closed()


class _Client:
    """A client's reader, which moves the client to the end of the list whenever it is heard."""

    def __init__(self, stream, clients: list) -> None:
        self.task = asyncio.current_task()
        self._stream = stream
        self._clients = clients

    async def read(self, most: int) -> bytes:
        data = await self._stream.read(most)
        self._clients.remove(self)
        self._clients.append(self)
        return data


def _address() -> str:
    import sys  # noqa: PLC0415

    return "127.0.0.1" if sys.platform in ("linux", "darwin") else "0.0.0.0"
