# Standard input as a stream: the REPL's UART or USB, or the simulated board's pty.

import asyncio
import select
import sys


class StdioReader:
    """Reads standard input for the service, as an asyncio stream would."""

    def __init__(self) -> None:
        self._stdin = sys.stdin.buffer
        self._stream = asyncio.StreamReader(self._stdin)
        self._poll = select.poll()
        self._poll.register(self._stdin, select.POLLIN)

    async def read(self, most: int) -> bytes:
        """Return at least one byte and at most this many; none at the end of the input."""
        # Standard input blocks until it has all it was asked for, so it is asked for single bytes.
        data = await self._stream.read(1)
        while data and len(data) < most and self._poll.poll(0):
            byte = self._stdin.read(1)
            if not byte:
                break
            data += byte
        return data
