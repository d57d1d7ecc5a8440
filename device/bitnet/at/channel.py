# A line to one client: reads command lines, sends replies.

import asyncio
import gc
from binascii import crc32

import micropython
from micropython import const

from . import parser
from .command import Bulk
from .parser import AtError, escape

_CHUNK = const(64)
_URCS = const(8)  # that wait for the end of a command
_BULK_TIMEOUT = const(10)  # seconds without a byte
_OK = const(0)
_ERROR = const(4)
_WORDS = (b"\r\nOK\r\n", b"\r\nERROR\r\n")
_NUMBERS = (b"0\r", b"4\r")


class Channel:
    """Serves one client. A slow command runs beside the reading, so that the client hears `busy p...`.

    service: what all channels share. reader, writer: asyncio streams, or objects that behave like them.
    """

    def __init__(self, service, reader, writer) -> None:
        self.service = service
        self.unit = service.unit
        # The echo is off until somebody asks for it: a machine that sends without reading would block on it.
        self.echo = 0
        self.verbose = 1
        self.cmee = 0
        self._reader = reader
        self._writer = writer
        self._is_sending = False
        self._late: list = []
        self._lines = parser.LineReader()
        self._chunk = b""
        self._at = 0
        self._last = b""  # line, for A/
        self._task: asyncio.Task | None = None  # of a slow command
        self._is_answering = False
        self._urcs: list = []
        self._announcing: asyncio.Task | None = None

    async def serve(self) -> None:
        """Answer the client until it has gone, which ends in a return or in OSError."""
        try:
            while self._at < len(self._chunk) or await self._fill():
                try:
                    await self._read_line()
                except OSError:
                    raise  # the client has gone
                except Exception as error:  # what one client sends must not silence the unit
                    self._at = len(self._chunk)
                    self.unit.log.add("at", str(error) or "memory full")
        finally:
            if self._task is not None:
                self._task.cancel()

    async def _read_line(self) -> None:
        """Read what has come, up to the end of a line, and answer that line."""
        at, was_empty = self._at, self._lines.is_empty
        line, self._at = self._lines.read(self._chunk, at)
        if self.echo:
            await self._echo(self._chunk[at : self._at], was_empty)
        if line is not None:
            await self._take(line)

    async def _echo(self, typed: bytes, at_beginning: bool) -> None:
        """Echo what was typed, but never into a reply: that goes for an LF after a line's CR, too."""
        if not (self._is_answering or self._is_sending) and not (at_beginning and typed == b"\n"):
            await self._send(typed)

    async def _fill(self) -> bool:
        """Wait for more bytes; return False if the client has gone."""
        self._chunk = await self._reader.read(_CHUNK)
        self._at = 0
        return bool(self._chunk)

    async def _take(self, line: bytes) -> None:
        """Answer a line as soon as no slow command runs. A slow one is started, and not waited for."""
        if line == parser.REPEAT:
            line = self._last
        self._last = line
        if self.service.is_held:
            await self.send(b"busy p...")
        if self._task is not None:
            await self._task
            self._task = None
        try:
            command, handler, arguments = self.service.find(line)
        except Exception as error:
            await self._finish(error)
            return
        answering = self._answer(command, handler, arguments)
        if command.is_slow:
            self._task = asyncio.create_task(answering)
            await asyncio.sleep_ms(0)
        else:
            await answering

    async def _answer(self, command, handler, arguments: tuple) -> None:
        """Run a command and send its reply, which ends with one final result code whatever happens."""
        if self._announcing is not None:
            await self._announcing  # which is being sent: the reply would have to be kept meanwhile
            self._announcing = None
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
            except Exception as fault:  # even one that nobody has foreseen must not silence the unit
                error = fault
            try:
                await self._finish(error)
            finally:
                self._is_answering = False
            if self._urcs:
                await self._send_urcs()

    async def _receive(self, bulk: Bulk):
        """Receive the bytes that a command asks for; return the lines of its reply. Raises AtError."""
        await self._send_code(_OK)
        fault: Exception | None = None
        left = bulk.size
        crc = 0
        micropython.kbd_intr(-1)  # before the prompt: whatever follows it is data, also a byte of 3
        try:
            await self._send(b"\r\n>" if self.verbose else b">")
            while left:
                if self._at == len(self._chunk) and not await self._wait_for_data():
                    raise AtError(parser.NO_DATA)
                piece = self._chunk[self._at : self._at + left]
                self._at += len(piece)
                left -= len(piece)
                crc = crc32(piece, crc)
                if fault is None:
                    try:
                        bulk.take(piece)
                    except Exception as error:  # for later: the bytes that still come are no commands
                        fault = error
            if fault is not None:
                raise fault
        except asyncio.TimeoutError:
            bulk.abort()
            raise AtError(parser.NO_DATA) from None
        except BaseException:
            bulk.abort()
            raise
        finally:
            micropython.kbd_intr(3)
        await self.send(b"Recv %d bytes" % bulk.size)
        if bulk.crc32 is not None and bulk.crc32 != crc:
            bulk.abort()
            raise AtError(parser.CHECKSUM)
        return bulk.done()

    async def _wait_for_data(self) -> bool:
        """Wait for more bytes without the watchdog: it is the client that is slow, not the unit."""
        self.unit.watchdog.end()
        try:
            return await asyncio.wait_for(self._fill(), _BULK_TIMEOUT)
        finally:
            self.unit.watchdog.begin()

    async def send(self, line: str | bytes) -> None:
        """Send a line of information."""
        if isinstance(line, str):
            line = line.encode()
        # In one piece, so that nothing comes between a line and its frame.
        await self._send(b"\r\n" + line + b"\r\n" if self.verbose else line + b"\r\n")

    async def _send(self, data: bytes) -> None:
        """Send bytes; if others are being sent, leave these to whoever sends those."""
        self.service.progress()
        if self._is_sending:  # a stream would lose what is written while it drains
            self._late.append(data)
            return
        self._is_sending = True
        try:
            while data:
                self._writer.write(data)
                await self._writer.drain()
                data = self._late.pop(0) if self._late else b""
        finally:
            self._is_sending = False

    async def _finish(self, error: Exception | None) -> None:
        """Send the final result code: OK, or that of an error."""
        if error is None:
            await self._send_code(_OK)
            return
        try:
            code, text = self.service.explain(error)
            if code == 0 or self.cmee == 0:
                await self._send_code(_ERROR)
            elif self.cmee == 1:
                await self.send(b"+CME ERROR: %d" % code)
            else:
                await self.send(b"+CME ERROR: " + escape((text or parser.CME_TEXT[code]).encode()))
        except MemoryError:
            gc.collect()
            await self._send_code(_ERROR)

    async def _send_code(self, code: int) -> None:
        await self._send((_WORDS if self.verbose else _NUMBERS)[code != _OK])

    def announce(self, line: bytes) -> None:
        """Send a line that the client has not asked for, after the reply that is being sent.

        If too many lines wait, the oldest is dropped.
        """
        if len(self._urcs) == _URCS:
            self._urcs.pop(0)
        self._urcs.append(line)
        if not self._is_answering:
            self._announcing = asyncio.create_task(self._send_urcs())

    async def _send_urcs(self) -> None:
        while self._urcs and not self._is_answering:
            await self.send(self._urcs.pop(0))
