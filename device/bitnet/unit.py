# A unit: the model and everything around it, as configured.

import asyncio
import gc

import machine

from . import fallback, storage, uptime
from .fallback import Responder
from .features import Features
from .log import Log
from .model import ModelError, constant, load
from .rules import Rules
from .session import Answer, Session
from .watchdog import Watchdog

USER_RULES = "user.rules"
_QUEUE = "sync"
_HOUR = 3600
_HUNG = "the watchdog has ended an inference: AT+RESET uses the model again"
# What the collector calls the reasons of fallbacks.
_SYNC_REASONS = {fallback.NATIVE: "model", fallback.MODEL: "model", fallback.MEMORY: "memory"}


class Unit:
    """The parts of a unit. Those that are not configured are None.

    fault: why there is no model, or "".
    """

    def __init__(self) -> None:
        self.log = Log()
        self.watchdog = Watchdog(self.config("WATCHDOG_MS", 0))
        self.responder = Responder(None, Rules(user_path=storage.path(USER_RULES)))
        self.governor = self._make_governor()
        self.meter = self._make_meter()
        self.sync = self._make_sync()
        self.features: Features | None = None
        self.fault = ""
        self._place: tuple = (None, 0)
        self._memory: bytearray | None = None  # of a model that is no longer used
        # The last fault that the cloud was told of, when that was, and how many like it have followed.
        self._told = ""
        self._told_at = 0
        self._untold = 0
        if self.watchdog.was_hung:
            self._fail(fallback.WATCHDOG, _HUNG)
        else:
            self.reload()

    @property
    def session(self) -> Session | None:
        """The session with the model, or None if there is no model."""
        return self.responder.session

    def config(self, name: str, default):
        """Return a value of config.toml, which the host has written onto the board, or the default."""
        return constant("bitnet_config", name, default)

    def reload(self) -> None:
        """Load the last model again. What is wrong with it becomes the fault."""
        try:
            self._load(*self._place)
        except (ModelError, MemoryError) as error:
            self._fail(fallback.reason_of(error), str(error) or "not enough memory for the model")

    def load(self, path: str | None, window: int) -> None:
        """Load another model or window. Raises ModelError or MemoryError, and goes on with the one before."""
        before = self._place
        self._place = path or before[0], window
        try:
            self._load(*self._place)
        except (ModelError, MemoryError):
            self._place = before
            self.reload()
            raise

    def _load(self, path: str | None, window: int) -> None:
        if self.session is not None:
            self._memory = self.session.model.close()
        self.responder.replace(None)
        self.features = None
        gc.collect()
        model = load(path, window, memory=self._memory)
        try:
            session = Session(model)
            self.features = _features_of(model)
        except BaseException:
            self._memory = model.close()
            raise
        self._memory = None
        self.fault = ""
        self.responder.replace(session)
        if self.sync:
            self.sync.model = model.crc32

    def _fail(self, reason: str, text: str) -> None:
        self.fault = text
        self.responder.replace(None, reason, text)
        self.log.add(reason, text)
        if self.sync:
            self._tell(_SYNC_REASONS.get(reason, reason))

    def _tell(self, reason: str) -> None:
        """Store a fault for the cloud; for an hour, count others like it, because flash wears out."""
        now = uptime.seconds()
        if reason == self._told and now - self._told_at < _HOUR:
            self._untold += 1
            return
        self.sync.log(reason, left_out=self._untold)
        self._told = reason
        self._told_at = now
        self._untold = 0

    def infer(self, phrase: bytes, deadline_ms: int = 0):
        """Answer a phrase with a Reply. deadline_ms: 0 for the responder's. Raises FallbackError."""
        features = self.features.tokens() if self.features else None
        governor = self.governor if self.governor and self.governor.policy != "fixed" else None
        if governor:
            governor.before()
        if self.meter:
            self.meter.begin()
        try:
            reply = self.responder.infer(phrase, deadline_ms, features)
        except fallback.FallbackError as error:
            self._report(error.reason, Answer("", 0, {}, "", 0, 0), phrase)
            raise
        session = self.session
        if session and reply.answer.source == "model":
            if self.meter:
                self.meter.end(session.fed_tokens, session.latency_ms, machine.freq())
            if governor:
                governor.after(session.latency_ms)
        if reply.reason or (session and reply.answer.intent == session.unknown):
            self._report(reply.reason, reply.answer, phrase)
        return reply

    def _report(self, reason: str, answer: Answer, phrase: bytes) -> None:
        """Note what the model has not answered or does not know, with the phrase if the user agrees."""
        if reason:
            self.log.add(reason)
        if self.sync and self.responder.modes & fallback.SYNC:
            if reason:
                self._tell(_SYNC_REASONS.get(reason, "inference"))
            self.sync.phrase(answer, str(phrase, "utf-8"))

    async def run(self) -> None:
        """Do what goes on beside the commands: feed the watchdog, keep in touch with the broker."""
        tasks = [self.watchdog.run()]
        if self.sync:
            tasks.append(self.sync.run())
        await asyncio.gather(*tasks)

    def _make_governor(self):
        clock = constant("bitnet_board", "CLOCK", None)
        if clock is None:
            return None
        from .power.governor import Governor  # noqa: PLC0415 (most ports cannot)

        try:
            return Governor(clock)
        except ValueError:
            return None

    def _make_meter(self):
        power = constant("bitnet_board", "POWER", None)
        if power is None:
            return None
        from .power.energy import open_meter  # noqa: PLC0415

        meter = open_meter(power)
        if meter.fault:
            self.log.add("meter", meter.fault)
        if self.governor:
            self.governor.on_change = meter.on_change
        return meter

    def _make_sync(self):
        settings = self.config("SYNC", None)
        if settings is None:
            return None
        from .cloud import Queue, Sync, connector  # noqa: PLC0415

        try:
            queue = Queue(storage.path(_QUEUE), settings["cap"])
        except (OSError, ValueError) as error:
            self.log.add("sync", f"no queue on flash: {error}")
            return None
        connect = connector(settings["host"], settings["port"], settings["ca"])
        return Sync(
            queue,
            connect,
            settings["unit"] or serial_number(),
            settings["topic"],
            user=settings["user"],
            password=settings["password"],
        )


def _features_of(model) -> Features | None:
    """Return the features that the model was trained with, or None. Raises ModelError."""
    definitions = model.metadata().get("features")
    try:
        return Features(definitions) if definitions else None
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{model.path}: this firmware cannot use its features ({error}): update it, or train others"
        ) from None


def serial_number() -> str:
    """Return the chip's unique number in hexadecimal; "0" where it has none."""
    from binascii import hexlify  # noqa: PLC0415

    return str(hexlify(machine.unique_id()), "ascii") if hasattr(machine, "unique_id") else "0"
