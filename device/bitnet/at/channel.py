# A line to one client: reads command lines, sends replies.

import asyncio
from binascii import crc32

from micropython import const

from . import parser
from .command import Bulk
from .parser import AtError, SyntaxFault, escape

_CHUNK = const(64)
_URCS = const(8)  # that wait for the end of a command
_BULK_TIMEOUT = const(10)  # seconds without a byte
_OK = const(0)
_ERROR = const(4)


class Channel:
    """Serves one client. A slow command runs beside the reading, so that the client hears `busy p...`.

    service: what all channels share. reader, writer: an asyncio stream, or what behaves like one.
    """

    def __init__(self, service, reader, writer) -> None:
        self.service = service
        self.unit = service.unit
        # Off until asked for: a machine that sends without reading would block on the echoes.
        self.echo = 0
        self.verbose = 1
        self.cmee = 0
        self.urcs_lost = 0
        self._reader = reader
        self._writer = writer
        self._lines = parser.LineReader()
        self._chunk = b""
        self._at = 0
        self._last = b""  # line, for A/
        self._task: asyncio.Task | None = None  # of a slow command
        self._is_answering = False
        self._urcs: list = []

    async def serve(self) -> None:
        """Until the client is gone."""
        try:
            while await self._fill():
                while self._at < len(self._chunk):
                    at, was_empty = self._at, self._lines.is_empty
                    line, self._at = self._lines.read(self._chunk, at)
                    if self.echo:
                        self._echo(self._chunk[at : self._at], was_empty)
                    if line is not None:
                        await self._take(line)
        finally:
            if self._task is not None:
                self._task.cancel()

    def _echo(self, typed: bytes, at_beginning: bool) -> None:
        """Nothing gets into a reply, not even the LF that may follow a line's CR."""
        if not self._is_answering and not (at_beginning and typed == b"\n"):
            self._writer.write(typed)

    async def _fill(self) -> bool:
        self._chunk = await self._reader.read(_CHUNK)
        self._at = 0
        return bool(self._chunk)

    async def _take(self, line: bytes) -> None:
        """Answer a line, or see to it that it is answered. It waits for a slow command, ours or another's."""
        if line == parser.REPEAT:
            line = self._last
        self._last = line
        if self.service.is_held:
            self._write(b"busy p...")
        if self._task is not None:
            await self._task
            self._task = None
        try:
            command, handler, arguments = self.service.find(line)
        except (SyntaxFault, AtError) as error:
            await self._finish(error)
            return
        answering = self._answer(command, handler, arguments)
        if command.is_slow:
            self._task = asyncio.create_task(answering)
            await asyncio.sleep_ms(0)
        else:
            await answering

    async def _answer(self, command, handler, arguments: tuple) -> None:
        """Run a command and send its reply, whatever happens with one final result code."""
        async with self.service.turn(command):
            self._is_answering = True
            error: Exception | None = None
            try:
                reply = handler(self, *arguments)
                if isinstance(reply, Bulk):
                    reply = await self._receive(reply)
                for line in reply or ():
                    if line is None:
                        self.service.progress()
                        await asyncio.sleep_ms(0)
                    else:
                        await self.send(line)
            except Exception as fault:  # an unforeseen one must not silence the unit
                error = fault
            await self._finish(error)
            self._is_answering = False
            self._send_urcs()

    async def _receive(self, bulk: Bulk):
        """The bytes a command asks for; returns the lines of its reply. Raises AtError."""
        await self._send_code(_OK)
        self._writer.write(b"\r\n>" if self.verbose else b">")
        left = bulk.size
        crc = 0
        try:
            while left:
                if self._at == len(self._chunk) and not await self._wait_for_data():
                    raise AtError(parser.NO_DATA)
                piece = self._chunk[self._at : self._at + left]
                self._at += len(piece)
                left -= len(piece)
                crc = crc32(piece, crc)
                bulk.take(piece)
        except asyncio.TimeoutError:
            bulk.abort()
            raise AtError(parser.NO_DATA) from None
        except Exception:
            self._at = len(self._chunk)  # what is left of them is no command
            bulk.abort()
            raise
        await self.send(b"Recv %d bytes" % bulk.size)
        if bulk.crc32 is not None and bulk.crc32 != crc:
            bulk.abort()
            raise AtError(parser.CHECKSUM)
        return bulk.done()

    async def _wait_for_data(self) -> bool:
        """The watchdog does not bite meanwhile: it is the client who is slow."""
        self.unit.watchdog.end()
        try:
            return await asyncio.wait_for(self._fill(), _BULK_TIMEOUT)
        finally:
            self.unit.watchdog.begin()

    async def send(self, line: str | bytes) -> None:
        """A line of information."""
        self._write(line)
        await self._writer.drain()

    def _write(self, line: str | bytes) -> None:
        self.service.progress()
        if isinstance(line, str):
            line = line.encode()
        # One write: nothing comes between a line and its frame.
        self._writer.write(b"\r\n" + line + b"\r\n" if self.verbose else line + b"\r\n")

    async def _finish(self, error: Exception | None) -> None:
        """The final result code."""
        if error is None:
            await self._send_code(_OK)
            return
        code, text = self.service.explain(error)
        if code == 0 or self.cmee == 0:
            await self._send_code(_ERROR)
        elif self.cmee == 1:
            await self.send(b"+CME ERROR: %d" % code)
        else:
            await self.send(b"+CME ERROR: " + escape((text or parser.CME_TEXT[code]).encode()))

    async def _send_code(self, code: int) -> None:
        if self.verbose:
            self._write(b"OK" if code == _OK else b"ERROR")
        else:
            self.service.progress()
            self._writer.write(b"%d\r" % code)
        await self._writer.drain()

    def announce(self, line: bytes) -> None:
        """Send an unsolicited result code, after the reply that is on its way."""
        if len(self._urcs) == _URCS:
            self._urcs.pop(0)
            self.urcs_lost += 1
        self._urcs.append(line)
        if not self._is_answering:
            self._send_urcs()

    def _send_urcs(self) -> None:
        while self._urcs:
            self._write(self._urcs.pop(0))
