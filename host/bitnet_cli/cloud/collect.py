"""The collector: what units publish, by MQTT into SQLite, and from there into phrases to train on.

Messages are those of device/bitnet/cloud/sync.py: a unit sends a record until it is acknowledged, so a record
may come twice; records are numbered, which tells these, and those that are missing.
"""

import json
import sqlite3
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ..errors import BitnetError
from ..files import read_file
from ..model import modelfile
from ..model.tokenizer import Tables, read_section
from ..phrases.phrases import UNLABELLED
from .broker import Broker

CONFIDENT = 900  # permille from which the unit's own answer is taken as the label
UNKNOWN = "unknown"

_LARGEST = 1 << 20  # bytes of a message, unpacked
_LONGEST_TOPIC = 65535  # bytes
_RECONNECT = (1, 30)  # seconds
_SCHEMA = """
BEGIN;
CREATE TABLE IF NOT EXISTS records (
    unit TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    received REAL NOT NULL,
    kind TEXT NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (unit, epoch, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drops (
    unit TEXT NOT NULL, epoch INTEGER NOT NULL, drops INTEGER NOT NULL, PRIMARY KEY (unit, epoch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rejected (
    received REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL, reason TEXT NOT NULL
);
-- Fail if somebody else's tables have these names.
SELECT unit, epoch, sequence, received, kind, fields FROM records LIMIT 0;
SELECT unit, epoch, drops FROM drops LIMIT 0;
SELECT received, topic, payload, reason FROM rejected LIMIT 0;
COMMIT;
"""


@dataclass(frozen=True)
class Unit:
    """What one unit has sent since its queue was made."""

    unit: str
    epoch: int
    records: int
    missing: int
    """How many record numbers below the highest have not come."""
    drops: int
    """Records that the unit says it lost, because its queue was full."""
    last: float
    """The time of the last record, in seconds since 1970."""


@dataclass
class Counts:
    """What a run of the collector has seen."""

    records: int = 0
    duplicates: int = 0
    rejected: int = 0


@dataclass
class Export:
    """Phrases for training, and how many records could not become one."""

    rows: list[dict[str, Any]]
    unlabelled: int
    without_text: int
    """How many records hold tokens that no given model can turn into text."""


class Store:
    """The database of records. Everything is on disk when add() returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path)
        except (OSError, sqlite3.Error) as error:
            raise BitnetError(f"{path}: cannot be used as the database: {error}") from None
        try:
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self.close()
            raise BitnetError(f"{path}: cannot be used as the database: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add(self, topic: str, payload: bytes) -> Counts:
        """Store a message: its new records, or the message itself and why it is none of a unit's."""
        now = time.time()
        try:
            with self._database:
                try:
                    message = _parse(payload)
                except _NotOursError as error:
                    row = (now, topic, payload, str(error))
                    self._database.execute("INSERT INTO rejected VALUES (?, ?, ?, ?)", row)
                    return Counts(rejected=1)
                return self._add(message, now)
        except sqlite3.Error as error:
            raise BitnetError(f"{self.path}: cannot be written: {error}") from None

    def _add(self, message: "_Message", now: float) -> Counts:
        rows = [
            (message.unit, message.epoch, message.first + i, now, record["kind"], json.dumps(record))
            for i, record in enumerate(message.records)
        ]
        before = self._database.total_changes
        self._database.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?)", rows)
        new = self._database.total_changes - before
        self._database.execute(
            "INSERT INTO drops VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET drops = max(drops, excluded.drops)",
            (message.unit, message.epoch, message.drops),
        )
        return Counts(records=new, duplicates=len(rows) - new)

    def units(self) -> list[Unit]:
        """Return every unit, with what is missing of its records."""
        rows = self._database.execute(
            "SELECT unit, epoch, count(*), max(sequence) + 1 - count(*), drops, max(received)"
            " FROM records JOIN drops USING (unit, epoch) GROUP BY unit, epoch ORDER BY unit, max(received)"
        )
        return [Unit(*row) for row in rows]

    def records(self, kind: str | None = None) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield (unit, sequence, fields) of the records of a kind, or of all, in each unit's order."""
        rows = self._database.execute(
            "SELECT unit, sequence, fields FROM records WHERE ? IN (kind, '') ORDER BY unit, epoch, sequence",
            (kind or "",),
        )
        for unit, sequence, fields in rows:
            yield unit, sequence, json.loads(fields)


def collect(
    broker: Broker, topic: str, store: Store, client_id: str, report: Callable[[Counts], None]
) -> Counts:
    """Store what comes on a topic until Ctrl-C; a message is acknowledged when it is on disk.

    The broker keeps messages for this client_id while the collector is away. Raises BitnetError if topic or
    client_id cannot be one, and if the broker refuses it or is not there at the start; later it is tried
    again.
    """
    if not is_topic(topic):
        raise BitnetError(f"the topic {topic!r} is none: it is such as bitnet/+ or bitnet/#")
    if not client_id or not client_id.isprintable():
        raise BitnetError(f"the client id {client_id!r} is none: a broker keeps messages for a name")
    counts = Counts()
    client = _client(broker, client_id)

    def on_connect(
        client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            raise BitnetError(f"the broker {broker.host}:{broker.port} refuses: {reason}")
        client.subscribe(topic, qos=1)

    def on_message(client: Client, _: Any, message: MQTTMessage) -> None:
        added = store.add(message.topic, bytes(message.payload))
        client.ack(message.mid, message.qos)
        counts.records += added.records
        counts.duplicates += added.duplicates
        counts.rejected += added.rejected
        report(counts)

    client.on_connect = on_connect
    client.on_message = on_message
    try:
        client.connect(broker.host, broker.port, keepalive=60)
    except (OSError, ValueError) as error:
        raise BitnetError(f"no broker at {broker.host}:{broker.port}: {error}") from None
    try:
        client.loop_forever()
    except KeyboardInterrupt:
        client.disconnect()
    return counts


def is_topic(text: str) -> bool:
    """Tell whether one can subscribe to a topic (MQTT 3.1.1, 4.7): `+` is a whole level, `#` the last."""
    *levels, last = text.split("/")
    return (
        text.isprintable()
        and 0 < len(text.encode()) <= _LONGEST_TOPIC
        and "#" not in "".join(levels)
        and all(level == "+" or "+" not in level for level in (*levels, last))
        and (last == "#" or "#" not in last)
    )


def _client(broker: Broker, client_id: str) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True)
    client.reconnect_delay_set(*_RECONNECT)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls:
        try:
            client.tls_set(ca_certs=str(broker.ca) if broker.ca else None)
        except (OSError, ssl.SSLError) as error:
            raise BitnetError(f"{broker.ca}: not a certificate to check the broker with: {error}") from None
    return client


@dataclass(frozen=True)
class _Message:
    unit: str
    epoch: int
    drops: int
    first: int
    records: list[dict[str, Any]]


class _NotOursError(Exception):
    """The message does not come from a unit; the text says why."""


def _parse(payload: bytes) -> _Message:
    try:
        data = json.loads(payload if payload[:1] == b"{" else _inflated(payload))
        # Half a surrogate pair is JSON and no text: neither the database nor a file can take it.
        json.dumps(data, ensure_ascii=False).encode()
        message = _Message(*(data[name] for name in ("unit", "epoch", "drops", "first", "records")))
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        raise _NotOursError(f"{type(error).__name__}: {error}") from None
    numbers = (message.epoch, message.drops, message.first)
    if not (
        isinstance(message.unit, str)
        and all(isinstance(number, int) and 0 <= number < 1 << 32 for number in numbers)
        and isinstance(message.records, list)
        and all(isinstance(row, dict) and isinstance(row.get("kind"), str) for row in message.records)
    ):
        raise _NotOursError("its fields are not those of a unit's message")
    return message


def _inflated(payload: bytes) -> bytes:
    """Inflate a message, if the unit's firmware has compressed it."""
    stream = zlib.decompressobj()
    data = stream.decompress(payload, _LARGEST)
    if not stream.eof:
        raise _NotOursError("truncated, or larger than a unit's message")
    return data


def export_phrases(store: Store, model: Path | None = None, before: Sequence[dict[str, Any]] = ()) -> Export:
    """Return the phrases that were collected, each once, as rows of a .jsonl file for `train`.

    What the unit was sure of has its answer as the label. Everything else has `?`, to be replaced by hand; it
    comes first, the most frequent phrases before the others, with the unit's `guess`. model: the .bitnet file
    whose tokens stand in records without text. before: the rows of the last time, of which those with a label
    stay as they are but for their count.
    """
    tables, crc32 = _tokens_of(model) if model else (None, None)
    found: dict[str, dict[str, Any]] = {}
    without_text = 0
    for _, _, fields in store.records("phrase"):
        text = _text_of(fields, tables if fields.get("model") == crc32 else None)
        if text is None:
            without_text += 1
            continue
        row = found.setdefault(text.lower(), _row(text, fields))
        row["count"] += 1
    rows = sorted(_relabelled(found, before), key=lambda row: (row["intent"] != UNLABELLED, -row["count"]))
    unlabelled = sum(row["intent"] == UNLABELLED for row in rows)
    return Export(rows, unlabelled, without_text)


def _relabelled(
    found: dict[str, dict[str, Any]], before: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Keep the rows that were labelled before, found again or not, and add those without a label."""
    labelled = [row for row in before if row["intent"] != UNLABELLED]
    for row in labelled:
        again = found.get(row["text"].lower())
        yield {**row, "count": again["count"] if again else 0}
    texts = {row["text"].lower() for row in labelled}
    yield from (row for text, row in found.items() if text not in texts)


def _row(text: str, fields: dict[str, Any]) -> dict[str, Any]:
    intent, confidence, slots = (fields.get(name) for name in ("intent", "confidence", "slots"))
    row = {"text": text, "intent": UNLABELLED, "guess": intent, "confidence": confidence, "count": 0}
    sure = isinstance(confidence, int) and confidence >= CONFIDENT
    if sure and isinstance(intent, str) and intent not in ("", UNKNOWN):
        row["intent"] = intent
        if isinstance(slots, dict):
            row["slots"] = {name: value for name, value in slots.items() if value and str(value) in text}
    return row


def _text_of(fields: dict[str, Any], tables: Tables | None) -> str | None:
    """Return what was said; None if that is not known."""
    text, tokens = fields.get("text"), fields.get("tokens")
    if isinstance(text, str) and text.strip():
        return text
    if tables is None or not isinstance(tokens, list):
        return None
    if not all(isinstance(token, int) and 0 <= token < len(tables.texts) for token in tokens):
        return None
    return b"".join(tables.texts[token] for token in tokens).decode(errors="replace").strip() or None


def _tokens_of(path: Path) -> tuple[Tables, int]:
    """Return the tokenizer of a model, and its CRC-32 as units give it."""
    model = modelfile.read(read_file(path))
    return read_section(model.tokenizer), model.crc32
