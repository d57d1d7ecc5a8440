# The AT service: what the channels to the clients share.

import asyncio
import gc
import json
import time

from micropython import const

from bitnet import storage
from bitnet.fallback import FallbackError
from bitnet.model import ModelError

from . import commands, parser
from .channel import Channel
from .command import Command
from .parser import AtError, SyntaxFault, escape
from .unit import sync_state

_IDLE_MS = const(50)  # without a command, after which nobody is taken to wait for the next
_SOON_MS = const(100)
_PROFILE = storage.path("profile.json")
_CODES = {
    "memory": parser.MEMORY_FULL,
    "deadline": parser.DEADLINE,
    "stack": parser.STACK,
}
_KINDS = (
    (ModelError, parser.NO_MODEL),
    (MemoryError, parser.MEMORY_FULL),
    (OSError, parser.STORAGE),
)


class Service:
    """Answers the AT commands that arrive on any of its channels; one command runs at a time."""

    def __init__(self, unit) -> None:
        self.unit = unit
        self.channels: list = []
        self._turn = asyncio.Lock()
        self._running: Command | None = None
        self._since = 0
        self._answered = asyncio.Event()
        self._profile = self._read_profile()

    async def run(self, streams: list, servers=()) -> None:
        """Serve (reader, writer) pairs and servers, coroutines that call serve(), until all of them end."""
        self.restore(self._profile, None, True)
        if self.unit.sync:
            self.unit.sync.on_connection = self._announce_sync
        beside = [asyncio.create_task(self._collect_when_idle()), asyncio.create_task(self.unit.run())]
        try:
            # Servers first: who has read `ready` can connect.
            serving = list(servers) + [self.serve(reader, writer) for reader, writer in streams]
            await asyncio.gather(*[self._try(clients) for clients in serving])
        finally:
            for task in beside:
                task.cancel()

    async def _try(self, clients) -> None:
        """What cannot be served leaves the others alone: a port that is taken, a radio that is not there."""
        try:
            await clients
        except Exception as error:
            self.unit.log.add("at", str(error))

    async def serve(self, reader, writer) -> None:
        """Serve one client until it is gone."""
        channel = Channel(self, reader, writer)
        self.restore(self._profile, channel)
        self.channels.append(channel)
        try:
            if self.unit.fault:
                await channel.send(b'+FAULT: "%s"' % escape(self.unit.fault.encode()))
            await channel.send(b"ready")
            await channel.serve()
        except OSError:
            pass  # the client has hung up
        finally:
            self.channels.remove(channel)

    def find(self, line: bytes) -> tuple:
        """The command of a line, its handler and the parameters. Raises SyntaxFault or AtError."""
        name, form, arguments = parser.parse(line)
        command = commands.find(str(name, "ascii"))
        if command is None:
            raise SyntaxFault
        handler, values = command.handler(form, arguments)
        return command, handler, values

    def turn(self, command) -> "_Turn":
        """To be entered with `async with` while a command runs."""
        return _Turn(self, command)

    @property
    def is_held(self) -> bool:
        """Whether a command runs that a client who waits for it should know of."""
        running = self._running
        if running is None:
            return False
        return running.is_slow or time.ticks_diff(time.ticks_ms(), self._since) > _SOON_MS

    def announce(self, line: bytes) -> None:
        """An unsolicited result code, to all clients."""
        for channel in self.channels:
            channel.announce(line)

    def _announce_sync(self) -> None:
        for line in sync_state(self):
            self.announce(line)

    def progress(self) -> None:
        """Something has been done: what the watchdog wants to know."""
        self.unit.watchdog.progress()

    def explain(self, error: Exception) -> tuple:
        """An error's code for +CME ERROR, 0 for plain ERROR, and its text if there is more to say."""
        if isinstance(error, SyntaxFault):
            return 0, ""
        if isinstance(error, AtError):
            return error.code, str(error)
        if isinstance(error, FallbackError):
            return _CODES.get(error.reason, parser.NO_MODEL), str(error)
        for kind, code in _KINDS:
            if isinstance(error, kind):
                return code, str(error)
        return parser.UNKNOWN, str(error)

    # The profile: values of the settings that were changed, by the commands' names.

    def _read_profile(self) -> dict:
        data = storage.read(_PROFILE)
        try:
            profile = json.loads(data) if data else {}
        except ValueError:
            profile = {}
        return profile if isinstance(profile, dict) else {}

    def restore(self, profile: dict, channel, at_start: bool = False) -> None:
        """Put a profile into effect: for a channel, or what is the unit's. What does not fit is left."""
        for setting in commands.settings():
            if setting.is_local == (channel is not None) and (at_start or not setting.is_kept):
                try:
                    setting.restore(channel or self, profile.get(setting.name, self.factory(setting)))
                except Exception as error:  # a profile of another version, or one edited by hand
                    self.unit.log.add("profile", f"{setting.name}: {error}")

    def restore_saved(self, channel) -> None:
        self.restore(self._profile, channel)
        self.restore(self._profile, None)

    def restore_factory(self, channel) -> None:
        self.restore({}, channel)
        self.restore({}, None)

    def factory(self, setting) -> tuple:
        return self.unit.config("FACTORY", {}).get(setting.name, setting.factory)

    def save(self, channel) -> None:
        """Keep the settings. Raises OSError."""
        self._keep({setting.name: setting.get(channel) for setting in commands.settings()})

    def keep(self, setting, channel) -> None:
        """Keep one setting, the others as they are kept already. Raises OSError."""
        profile = dict(self._profile)
        profile[setting.name] = setting.get(channel)
        self._keep(profile)

    def _keep(self, profile: dict) -> None:
        storage.write(_PROFILE, json.dumps(profile).encode())
        self._profile = self._read_profile()

    async def _collect_when_idle(self) -> None:
        """Collecting takes as long as a tenth of an inference: not while an answer is on its way."""
        while True:
            await self._answered.wait()
            self._answered.clear()
            await asyncio.sleep_ms(_IDLE_MS)
            if not self._answered.is_set():
                gc.collect()


class _Turn:
    def __init__(self, service: Service, command) -> None:
        self._service = service
        self._command = command

    async def __aenter__(self) -> None:
        service = self._service
        await service._turn.acquire()
        service._running = self._command
        service._since = time.ticks_ms()
        service.unit.watchdog.begin()

    async def __aexit__(self, kind, error, trace) -> None:
        service = self._service
        service.unit.watchdog.end()
        service._running = None
        service._turn.release()
        service._answered.set()
