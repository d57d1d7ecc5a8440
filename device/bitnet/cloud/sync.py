# Cloud sync: records of faults and phrases wait on flash until an MQTT broker has acknowledged them.
#
# What a user has said is stored only with the user's consent, which is decided where records enter the queue,
# in Sync._store. It is sent only with consent, too, in Sync._record: the flash may have failed to drop it.

import asyncio
import errno
import gc
import io
import json
import random

from micropython import const

import bitnet

from .. import uptime
from .mqtt import PUBACK, Link, MqttError
from .queue import Queue

_TOKENS = const(16)
_TEXT = const(256)  # characters of a text that a record may have
_BATCH = const(1024)  # bytes of records in a message, unless one alone is larger
_IDS = const(65535)
_CONNECTING = const(15)  # seconds until a broker must have answered
_DEFLATE_BITS = const(9)  # a window of 512 bytes
_PHRASE = b'"kind": "phrase"'  # as json writes it; a text cannot contain it, for its quotes are escaped
_LOST = b'{"kind":"lost"}'

# What a fault may be called. Any other name becomes "other", so that no text gets in as a name.
REASONS = ("model", "memory", "watchdog", "inference", "other")


class Sync:
    """Stores records, and publishes them on `topic` as long as run() runs.

    queue: where records wait. connect: an async function that returns a reader and a writer, such as
    connector("192.168.1.2"). client_id: the unit's name, which no other unit may have. topic: None for
    "bitnet/" and the name. consent: whether the user agrees that phrases are stored and sent. model: the
    model's CRC-32. keepalive: seconds of silence after which broker and unit take each other for lost.
    window: how many messages may be on their way. backoff: seconds between attempts to connect, the first
    time and at most.
    """

    def __init__(
        self,
        queue: Queue,
        connect,
        client_id: str,
        topic: str | None = None,
        consent: bool = False,
        model: int = 0,
        user: str | None = None,
        password: str | None = None,
        keepalive: int = 60,
        window: int = 4,
        backoff: tuple = (1, 300),
    ) -> None:
        self.queue = queue
        self.consent = consent
        self.connected = False
        self.on_connection = lambda: None  # called when a connection begins or ends
        self.last_error = ""
        self._connect = connect
        self._client_id = client_id
        self._topic = topic or "bitnet/" + client_id
        self.model = model
        self._login = (user, password)
        self._keepalive = keepalive
        self._window = window
        self._backoff = backoff
        # Messages on their way, the oldest first: packet id, first record, and the record after the last.
        self._flying: list = []
        self._is_to_clear = False  # whether consent was withdrawn, and the flash has not dropped all yet
        self._packet_id = 0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._settled = asyncio.Event()

    def log(self, reason: str, **numbers: int) -> bool:
        """Store a fault; return whether that was possible. reason: one of REASONS.

        Further fields must be numbers, because a text may quote a phrase. Others are left out.
        """
        record: dict = {"kind": "fault", "reason": reason if reason in REASONS else "other"}
        for name, value in numbers.items():
            if isinstance(value, (int, float)):
                record[name] = value
        return self._store(record, personal=False)

    def phrase(self, answer, text: str = "", tokens=()) -> bool:
        """Store a phrase and its bitnet.Answer; return whether that was possible: not without consent.

        A phrase may come as tokens instead of a text; the last 16 of them are kept.
        """
        record = {
            "kind": "phrase",
            "intent": answer.intent,
            "confidence": answer.confidence,
            "source": answer.source,
            "slots": answer.slots,
        }
        if text:
            record["text"] = text[:_TEXT]
        else:
            record["tokens"] = list(tokens[-_TOKENS:])
        return self._store(record, personal=True)

    def withdraw(self) -> None:
        """Withdraw the user's consent: no more phrases are stored or sent, and all that waits is dropped.

        Raises OSError if the flash fails. Then call it again; the next fault tries to drop them, too.
        """
        if self.consent:
            self.consent = False
            self._flying.clear()
            self._is_to_clear = True
        self._clear()

    def _clear(self) -> None:
        """Drop what waits, if consent was withdrawn and that has not been done yet."""
        if self._is_to_clear:
            self.queue.clear()
            self._is_to_clear = False

    async def run(self) -> None:
        """Stay connected to the broker and publish what the queue holds, for ever."""
        attempt = 0
        while True:
            try:
                await self._converse()
            except Exception as error:  # whatever a network or a broker does, the unit must go on
                self._failed(error)
            attempt = 0 if self.connected else attempt + 1
            self._connected(False)
            self._hurry.clear()
            await _wait(self._hurry, self._pause_ms(attempt))

    async def flush(self, timeout: int = 10) -> bool:
        """Publish what waits without a pause; return whether all has arrived. timeout: seconds."""
        self._hurry.set()
        self._wake.set()
        if self.queue.depth:
            self._settled.clear()
            await _wait(self._settled, 1000 * timeout)
        return self.queue.depth == 0

    def _store(self, record: dict, personal: bool) -> bool:
        """Put a record into the queue, if it may be there. There is no other way into it."""
        if personal and not self.consent:
            return False
        record["uptime"] = uptime.seconds()
        record["version"] = bitnet.__version__
        record["model"] = self.model
        try:
            self._clear()
            self.queue.append(json.dumps(record).encode())
        except (OSError, ValueError) as error:
            self._failed(error)
            return False
        self._wake.set()
        return True

    def _connected(self, is_connected: bool) -> None:
        has_changed = is_connected != self.connected
        self.connected = is_connected
        if has_changed:
            self.on_connection()

    async def _converse(self) -> None:
        """Connect to the broker, and exchange messages until the connection breaks."""
        # A socket that was given up is closed by the garbage collector, and there are few sockets.
        gc.collect()
        link = Link(*await asyncio.wait_for(self._connect(), _CONNECTING))
        tasks = []
        try:
            await asyncio.wait_for(link.connect(self._client_id, self._keepalive, *self._login), _CONNECTING)
            self._connected(True)
            broken = asyncio.Event()
            tasks = [
                asyncio.create_task(self._until(broken, side(link))) for side in (self._send, self._receive)
            ]
            await broken.wait()
        finally:
            for task in tasks:
                task.cancel()
            await link.close()

    async def _until(self, broken: asyncio.Event, side) -> None:
        """Run one side of the conversation, sending or receiving; when it ends, the connection ends."""
        try:
            await side
        except Exception as error:  # whatever it is, as in run()
            self._failed(error)
        finally:
            broken.set()

    async def _send(self, link: Link) -> None:
        for message in tuple(self._flying):
            await self._publish(link, message, again=True)
        while True:
            self._wake.clear()
            message = self._next_message()
            if message is not None:
                self._flying.append(message)
                await self._publish(link, message, again=False)
            elif not await _wait(self._wake, 500 * self._keepalive):
                await link.ping()

    async def _receive(self, link: Link) -> None:
        while True:
            packet: tuple = await asyncio.wait_for(link.receive(), self._keepalive)
            if packet[0] == PUBACK:
                self._acknowledged(packet[1])

    async def _publish(self, link: Link, message: tuple, again: bool) -> None:
        packet_id, first, end = message
        await link.publish(self._topic, self._payload(max(first, self.queue.first), end), packet_id, again)

    def _next_message(self) -> tuple | None:
        """Return the next message, as many records as go into it; None if none may be sent now."""
        queue = self.queue
        first = max(queue.first, self._flying[-1][2] if self._flying else 0)
        if len(self._flying) >= self._window or first == queue.next:
            return None
        end, size = first, 0
        while end < queue.next:
            record = queue.peek(end)
            size += len(record or b"")
            if end > first and size > _BATCH:
                break
            end += 1
        self._packet_id = self._packet_id % _IDS + 1
        return self._packet_id, first, end

    def _payload(self, first: int, end: int) -> bytes:
        """Write a message: what the unit is, and records of consecutive numbers."""
        queue = self.queue
        records = b",".join(self._record(number) for number in range(first, end))
        head = {"unit": self._client_id, "epoch": queue.epoch, "drops": queue.drops, "first": first}
        return _deflated(json.dumps(head).encode()[:-1] + b', "records": [' + records + b"]}")

    def _record(self, number: int) -> bytes:
        """Return a record as it may be sent: a phrase only with a consent that holds."""
        record = self.queue.peek(number) or _LOST
        if (not self.consent or self._is_to_clear) and _PHRASE in record:
            return _LOST
        return record

    def _acknowledged(self, packet_id: int) -> None:
        """Take an acknowledgement, which is that of the oldest message on its way (MQTT 3.1.1, 4.6)."""
        if not self._flying or self._flying[0][0] != packet_id:
            raise MqttError("the broker acknowledged another message than the oldest")
        self.queue.ack(self._flying.pop(0)[2] - 1)
        self._wake.set()
        if self.queue.depth == 0:
            self._settled.set()

    def _pause_ms(self, attempt: int) -> int:
        """Return how long to wait after failed attempts: each time twice as long, about half of it by chance.

        Without chance, all units would come back at once when their broker does.
        """
        first, longest = self._backoff
        pause = min(longest, first << min(attempt, 16)) * 1000
        return pause // 2 + random.randrange(pause // 2 + 1)

    def _failed(self, error: BaseException) -> None:
        name = type(error).__name__
        if isinstance(error, OSError) and error.errno in errno.errorcode:
            self.last_error = f"{name}: {errno.errorcode[error.errno]}"
        else:
            self.last_error = f"{name}: {error}"


async def _wait(event: asyncio.Event, milliseconds: int) -> bool:
    """Wait for an event; return whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), milliseconds / 1000)
    except asyncio.TimeoutError:
        return False
    return True


def _deflated(data: bytes) -> bytes:
    """Compress data by zlib, if the firmware can. What is compressed does not begin with a brace."""
    try:
        import deflate  # noqa: PLC0415 (only boards with a network need it)

        packed = io.BytesIO()
        stream = deflate.DeflateIO(packed, deflate.ZLIB, _DEFLATE_BITS)
        stream.write(data)  # type: ignore[attr-defined]
        stream.close()
    except (ImportError, AttributeError):
        return data
    return packed.getvalue()
