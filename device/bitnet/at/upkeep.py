# Handlers of the commands that look after the unit: statistics, log, self-test, files.

import gc
from binascii import crc32, hexlify

from micropython import const

from bitnet import storage
from bitnet.fallback import WATCHDOG

from . import parser
from .command import Bulk, information
from .parser import AtError

_CHUNK = const(4096)
_IN_MEMORY = const(4096)  # a UART loses bytes while flash is erased: no file is touched before these are here
_NAME_MAX = const(32)
_HEX_BYTES = const(64)  # of a file, in a line
_BLANK, _DOT, _SLASH = const(0x20), const(0x2E), const(0x2F)
_CRC_FROM = const(16)  # where the part of a model file begins that its checksum is of
_TEST_FILE = storage.path("test")
_PHRASE = b"self-test 1"


def stat(channel) -> tuple:
    """Tells the bytes of free heap, ms and prompt tokens of the last request, requests, how many the model
    has not answered, why it did not answer the last of those, and why the unit was reset (`power` or
    `watchdog`).

    AT+STAT?
    """
    unit, session = channel.unit, channel.unit.session
    latency_ms, prompt_tokens, requests = (
        (session.latency_ms, session.prompt_tokens, session.requests) if session else (0, 0, 0)
    )
    gc.collect()
    responder = unit.responder
    cause = WATCHDOG if unit.watchdog.was_hung else "power"
    return (
        information(
            "+STAT",
            gc.mem_free(),
            latency_ms,
            prompt_tokens,
            requests,
            responder.fallbacks,
            responder.reason,
            cause,
        ),
    )


def log(channel):
    """Tells what went wrong lately: seconds ago, reason, text. Running it clears the log.

    AT+LOG?
    AT+LOG
    """
    for entry in channel.unit.log.entries():
        yield information("+LOG", *entry)


def clear_log(channel) -> None:
    channel.unit.log.clear()


# --- self-test ---


def self_test(channel):
    """Tests the parts of the unit; ends with an error if one fails.

    AT+SELFTEST
    """
    failed = False
    for part, fault in _test_parts(channel.unit):
        failed = failed or bool(fault)
        yield None
        yield information("+SELFTEST", part, fault or "ok")
    if failed:
        raise AtError(parser.SELF_TEST)


def _test_parts(unit):
    """Yield the name of each part, and what is wrong with it or ""."""
    yield "native", "" if unit.session else unit.fault
    if unit.session:
        yield "model", _test_checksum(unit.session.model)
        yield "inference", _test_inference(unit.session)
    yield "storage", _test_storage()
    if unit.meter:
        yield "sensor", unit.meter.fault


def _test_checksum(model) -> str:
    """Compute the model file's checksum anew, because bits in flash may flip."""
    data = memoryview(model.data)
    crc = 0
    for at in range(_CRC_FROM, model.file_size, _CHUNK):
        crc = crc32(data[at : min(at + _CHUNK, model.file_size)], crc)
    return "" if crc == model.crc32 else "the checksum differs"


def _test_inference(session) -> str:
    """Ask for the same answer twice: the second request uses the KV cache that the first has left."""
    if session.labels is None:
        return ""
    answers = [session.infer(_PHRASE)[:3] for _ in range(2)]
    return "" if answers[0] == answers[1] else "two answers to one phrase"


def _test_storage() -> str:
    try:
        storage.write(_TEST_FILE, _PHRASE)
        same = storage.read(_TEST_FILE) == _PHRASE
        storage.remove(_TEST_FILE)
    except OSError as error:
        return str(error)
    return "" if same else "it reads other bytes than were written"


# --- files ---


def list_files(channel):
    """Lists the unit's files: name and bytes. `read` sends one in hexadecimal; `write` waits for `bytes`
    bytes after `>`, and keeps them if they have the CRC-32.

    AT+FILES?
    """
    for name, size in storage.files():
        yield information("+FILES", name, size)


def use_file(channel, action: str, name: bytes, size: int, crc: int | None):
    path = storage.path(_checked_name(name))
    if action == "write":
        return _receive(path, size, crc)
    if action == "delete":
        storage.remove(path)
        return None
    return _hexadecimal(path)


def _checked_name(name: bytes) -> str:
    """Return a file's name as text. Raises AtError if it could lead out of the unit's folder."""
    if not 1 <= len(name) <= _NAME_MAX or name[0] == _DOT or any(c <= _BLANK or c == _SLASH for c in name):
        raise AtError(
            parser.NOT_ALLOWED, "a name has 1 to 32 characters, no blank or / and no . at its beginning"
        )
    return str(name, "utf-8")


def _receive(path: str, size: int, crc: int | None) -> Bulk:
    """Replace a file by the bytes that the client sends next; if they do not come, the old one stays."""
    if size <= _IN_MEMORY:
        data = bytearray()
        return Bulk(size, crc, data.extend, lambda: storage.write(path, data), lambda: None)
    file = storage.create(path)

    def done() -> None:
        file.close()
        storage.commit(path)

    def abort() -> None:
        file.close()
        storage.discard(path)

    return Bulk(size, crc, file.write, done, abort)


def _hexadecimal(path: str):
    """Yield a file's bytes as lines of information."""
    with open(path, "rb") as file:
        while True:
            piece = file.read(_HEX_BYTES)
            if not piece:
                return
            yield information("+FILES", hexlify(piece))
