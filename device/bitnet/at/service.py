# The AT service: what the channels to the clients share.

import asyncio
import gc
import json
import time

from micropython import const

from bitnet import storage
from bitnet.fallback import FallbackError
from bitnet.model import ModelError

from . import cloud, parser, table
from .channel import Channel
from .command import Command
from .parser import AtError, SyntaxFault, escape

_IDLE_MS = const(50)  # without a command: then nobody is likely to send the next one at once
_SOON_MS = const(100)  # within which a command ends that nobody need be told of
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
        """Serve streams, which are (reader, writer), and servers, which are coroutines that call serve().

        Ends when all of them have ended.
        """
        self.restore(self._profile, None, True)
        if self.unit.sync:
            self.unit.sync.on_connection = self._announce_sync
        beside = [asyncio.create_task(self._collect_when_idle()), asyncio.create_task(self.unit.run())]
        try:
            # Servers first, so that a client that has read `ready` on a stream can connect to them.
            serving = list(servers) + [self.serve(reader, writer) for reader, writer in streams]
            await asyncio.gather(*[self._try(clients) for clients in serving])
        finally:
            for task in beside:
                task.cancel()

    async def _try(self, clients) -> None:
        """Serve clients. A fault, such as a port that is taken or a missing radio, must not end others."""
        try:
            await clients
        except Exception as error:
            self.unit.log.add("at", str(error))

    async def serve(self, reader, writer) -> None:
        """Serve one client until it has gone."""
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
        """Return the command of a line, its handler and the parameters. Raises SyntaxFault or AtError."""
        name, form, arguments = parser.parse(line)
        command = table.find(str(name, "ascii"))
        if command is None:
            raise SyntaxFault
        handler, values = command.handler(form, arguments)
        return command, handler, values

    def turn(self, command) -> "_Turn":
        """Return what makes a command wait for its turn: it runs inside of an `async with`."""
        return _Turn(self, command)

    @property
    def is_held(self) -> bool:
        """Say whether a command runs that takes so long that a client should hear of it."""
        running = self._running
        if running is None:
            return False
        return running.is_slow or time.ticks_diff(time.ticks_ms(), self._since) > _SOON_MS

    def announce(self, line: bytes) -> None:
        """Send a line that nobody has asked for, an unsolicited result code, to all clients."""
        for channel in self.channels:
            channel.announce(line)

    def _announce_sync(self) -> None:
        self.announce(cloud.state_line(self.unit.sync))

    def progress(self) -> None:
        """Tell the watchdog that the command that runs has got on."""
        self.unit.watchdog.progress()

    def explain(self, error: Exception) -> tuple:
        """Return an error's code for +CME ERROR, 0 for plain ERROR, and its text if there is more to say."""
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

    # --- the profile: values of settings, by the names of the commands ---

    def _read_profile(self) -> dict:
        data = storage.read(_PROFILE)
        try:
            profile = json.loads(data) if data else {}
        except ValueError:
            profile = {}
        return profile if isinstance(profile, dict) else {}

    def restore(self, profile: dict, channel, at_start: bool = False) -> None:
        """Put a profile into effect: a channel's settings, or the unit's if channel is None.

        Settings that are kept are restored at the start alone. Values that a setting refuses are skipped.
        """
        for setting in table.settings():
            if setting.is_local == (channel is not None) and (at_start or not setting.is_kept):
                try:
                    setting.restore(channel or self.unit, profile.get(setting.name, self.factory(setting)))
                except Exception as error:  # a profile of another version, or one edited by hand
                    self.unit.log.add("profile", f"{setting.name}: {error}")

    def restore_saved(self, channel) -> None:
        """Restore a channel's settings and the unit's as they were saved last."""
        self.restore(self._profile, channel)
        self.restore(self._profile, None)

    def restore_factory(self, channel) -> None:
        """Restore a channel's settings and the unit's as the unit was built."""
        self.restore({}, channel)
        self.restore({}, None)

    def factory(self, setting) -> tuple:
        """Return a setting's values as the unit was built: config.toml's, or else the command's own."""
        return self.unit.config("FACTORY", {}).get(setting.name, setting.factory)

    def save(self, channel) -> None:
        """Save all settings, the local ones as this channel has them. Raises OSError."""
        self._keep({setting.name: setting.current(channel) for setting in table.settings()})

    def keep(self, setting, channel) -> None:
        """Save one setting, and leave the others as they were saved. Raises OSError."""
        profile = dict(self._profile)
        profile[setting.name] = setting.current(channel)
        self._keep(profile)

    def _keep(self, profile: dict) -> None:
        storage.write(_PROFILE, json.dumps(profile).encode())
        self._profile = self._read_profile()

    async def _collect_when_idle(self) -> None:
        """Collect garbage between commands: it takes a tenth of the time of an inference."""
        while True:
            await self._answered.wait()
            self._answered.clear()
            await asyncio.sleep_ms(_IDLE_MS)
            if not self._answered.is_set():
                gc.collect()


class _Turn:
    """The one turn of a service: whoever enters waits until nobody else has it."""

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
