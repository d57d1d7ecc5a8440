# The AT service: one static table of commands; a loop that gives every line exactly one final result code.

import asyncio
import gc
import sys

import bitnet
from bitnet.model import ModelError
from bitnet.session import Session

from . import parser
from .parser import AtError, Int, SyntaxFault, Text, escape

_CHUNK = 64
_IDLE_MS = 50  # without a command, after which nobody is taken to wait for the next
_WEIGHT_TYPES = ("", "binary", "ternary")
_NOT_ASCII = bytes(range(128, 256))


class Command:
    """A row of the table. Handlers take the service and the parameters, and return or yield lines to send."""

    def __init__(self, name: str, params=(), run=None, read=None, set=None) -> None:
        self.name = name
        self.params = params
        self.run = run
        self.read = read
        self.set = set

    def values(self, arguments: tuple) -> list:
        """The arguments as the parameters want them."""
        if len(arguments) > len(self.params):
            raise SyntaxFault
        given = len(arguments)
        return [p.value(arguments[i] if i < given else None) for i, p in enumerate(self.params)]

    def describe(self) -> tuple:
        """The answer to the test form."""
        return (self.name + ": " + ",".join(str(p) for p in self.params),) if self.params else ()


class Service:
    """Answers AT commands from an asyncio reader on an asyncio writer.

    session: a bitnet.Session, or None if there is none, for the reason `fault`; the service answers anyway.
    """

    def __init__(self, reader, writer, session: Session | None = None, fault: str = "") -> None:
        self.session = session
        self.fault = fault
        # Off until asked for: a machine that sends without reading would block on the echoes.
        self.echo = 0
        self.cmee = 0
        self._reader = reader
        self._writer = writer
        self._lines = parser.LineReader()
        self._answered = asyncio.Event()

    async def run(self) -> None:
        """Serve until the transport ends."""
        if self.fault:
            await self._send(b'+FAULT: "%s"' % escape(self.fault.encode()))
        await self._send(b"ready")
        collector = asyncio.create_task(self._collect_when_idle())
        try:
            await self._serve()
        finally:
            collector.cancel()

    async def _serve(self) -> None:
        while True:
            chunk = await self._reader.read(_CHUNK)
            if not chunk:
                return
            for byte in chunk:
                if self.echo:
                    self._writer.write(bytes((byte,)))
                line = self._lines.push(byte)
                if line is not None:
                    await self._send(await self._answer(line))
                    self._answered.set()

    async def _collect_when_idle(self) -> None:
        """Collecting takes as long as a tenth of an inference: not while an answer is on its way."""
        while True:
            await self._answered.wait()
            self._answered.clear()
            await asyncio.sleep_ms(_IDLE_MS)
            if not self._answered.is_set():
                gc.collect()

    async def _answer(self, line: bytes) -> bytes:
        """Run a line, send its information; returns the final result code, whatever happens."""
        try:
            for information in self._execute(line) or ():
                await self._send(information)
            return b"OK"
        except SyntaxFault:
            return b"ERROR"
        except AtError as error:
            return self._error(error.code, str(error))
        except ModelError as error:
            return self._error(parser.NO_MODEL, str(error))
        except MemoryError:
            gc.collect()
            return self._error(parser.MEMORY_FULL)
        except Exception as error:  # an unforeseen fault must not silence the unit
            return self._error(parser.UNKNOWN, str(error))

    def _execute(self, line: bytes):
        name, form, arguments = parser.parse(line)
        command = _BY_NAME.get(str(name, "ascii"))
        if command is None:
            raise SyntaxFault
        if form == parser.TEST:
            return command.describe()
        if form == parser.SET:
            handler = command.set
            arguments = command.values(arguments) if handler else ()
        else:
            handler = command.read if form == parser.READ else command.run
        if handler is None:
            raise AtError(parser.NOT_SUPPORTED)
        return handler(self, *arguments)

    def _error(self, code: int, text: str = "") -> bytes:
        if self.cmee == 0:
            return b"ERROR"
        if self.cmee == 1:
            return b"+CME ERROR: %d" % code
        return b"+CME ERROR: " + escape((text or parser.CME_TEXT[code]).encode())

    async def _send(self, line: str | bytes) -> None:
        if isinstance(line, str):
            line = line.encode()
        self._writer.write(b"\r\n" + line + b"\r\n")
        await self._writer.drain()

    def require_session(self) -> Session:
        if self.session is None:
            raise AtError(parser.NO_MODEL, self.fault)
        return self.session


def _nothing(service: Service) -> None:
    pass


def _set_echo(service: Service, value: int) -> None:
    service.echo = value


def _identify(service: Service) -> tuple:
    version = ".".join(str(part) for part in sys.implementation.version[:3])
    return "bitnet " + bitnet.__version__, f"{sys.implementation.name} {version}, {sys.platform}"


def _version(service: Service) -> tuple:
    return (bitnet.__version__,)


def _read_cmee(service: Service) -> tuple:
    return (f"+CMEE: {service.cmee}",)


def _set_cmee(service: Service, value: int) -> None:
    service.cmee = value


def _list_commands(service: Service) -> list:
    return ["AT" + command.name for command in _COMMANDS]


def _read_model(service: Service) -> tuple:
    session = service.require_session()
    model = session.model
    intents = session.labels.intent_count if session.labels else 0
    name = escape(model.path.split("/")[-1].encode())
    return (
        b'+MODEL: "%s",%d,"%08X","%s",%d,%d,%d,%d,%d'
        % (
            name,
            model.file_size,
            model.crc32,
            _WEIGHT_TYPES[model.weight_type].encode(),
            model.vocab_size,
            model.hidden_size,
            model.num_layers,
            model.window,
            intents,
        ),
    )


def _infer(service: Service, text: bytes) -> tuple:
    session = service.require_session()
    if session.labels is None:
        raise AtError(parser.NO_INTENTS)
    answer = session.infer(text)
    # Separators inside a value are escaped: split first, then unescape.
    slots = b";".join(
        escape(name.encode(), b"=;") + b"=" + escape(value.encode(), b"=;")
        for name, value in answer.slots.items()
    )
    return (
        b'+INFER: "%s",%d,"%s","%s",%d,%d'
        % (
            escape(answer.intent.encode()),
            answer.confidence,
            slots,
            answer.source.encode(),
            answer.latency_ms,
            answer.prompt_tokens,
        ),
    )


def _generate(service: Service, text: bytes, max_tokens: int):
    # A token may end inside a character, so a line holds no raw UTF-8.
    for piece in service.require_session().generate(text, max_tokens):
        yield b'+GEN: "%s"' % escape(piece, _NOT_ASCII)


def _read_stat(service: Service) -> tuple:
    session = service.session
    latency_ms, prompt_tokens, requests = (
        (session.latency_ms, session.prompt_tokens, session.requests) if session else (0, 0, 0)
    )
    gc.collect()
    return (f"+STAT: {gc.mem_free()},{latency_ms},{prompt_tokens},{requests}",)


def _reset(service: Service) -> None:
    service.require_session().reset()


_COMMANDS = (
    Command("", run=_nothing),
    Command("E", (Int(0, 1, 0),), run=lambda service: _set_echo(service, 0), set=_set_echo),
    Command("I", run=_identify),
    Command("+GMR", run=_version),
    Command("+CMEE", (Int(0, 2),), read=_read_cmee, set=_set_cmee),
    Command("+CLAC", run=_list_commands),
    Command("+MODEL", read=_read_model),
    Command("+INFER", (Text(),), set=_infer),
    Command("+GEN", (Text(), Int(1, 256, 32)), set=_generate),
    Command("+STAT", read=_read_stat),
    Command("+RESET", run=_reset),
)
_BY_NAME = {command.name: command for command in _COMMANDS}
