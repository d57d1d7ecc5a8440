# What is behind the commands that look after the unit: self-test, files.

from binascii import crc32, hexlify

from micropython import const

from bitnet import storage

from . import parser
from .command import Bulk, information
from .parser import AtError

_CHUNK = const(4096)
_IN_MEMORY = const(4096)  # a UART loses bytes while flash is erased: these all come first
_NAME_MAX = const(32)
_BLANK, _DOT, _SLASH = const(0x20), const(0x2E), const(0x2F)
_CRC_FROM = const(16)  # of a model file: the bytes behind its checksum
_TEST_FILE = storage.path("test")
_PHRASE = b"self-test 1"


def self_test(unit):
    """(part, what is wrong with it or "") of each part; None while a long one goes on."""
    yield "native", "" if unit.session else unit.fault
    if unit.session:
        yield "model", _test_checksum(unit.session.model)
        yield "inference", _test_inference(unit.session)
    yield "storage", _test_storage()
    if unit.meter:
        yield "sensor", unit.meter.fault


def _test_checksum(model) -> str:
    """Flash bits flip: the file is summed up again."""
    data = memoryview(model.data)
    crc = 0
    for at in range(_CRC_FROM, model.file_size, _CHUNK):
        crc = crc32(data[at : min(at + _CHUNK, model.file_size)], crc)
    return "" if crc == model.crc32 else "the checksum differs"


def _test_inference(session) -> str:
    """The same answer twice, the KV cache having been used in between."""
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


def checked_name(name: bytes) -> str:
    """A file's name. Raises AtError if it could lead elsewhere."""
    if not 1 <= len(name) <= _NAME_MAX or name[0] == _DOT or any(c <= _BLANK or c == _SLASH for c in name):
        raise AtError(
            parser.NOT_ALLOWED, "a name has 1 to 32 characters, no blank or / and no . at its beginning"
        )
    return str(name, "utf-8")


def receive(path: str, size: int, crc: int | None) -> Bulk:
    """Writes a file from bytes that come after this; the one before stays if they do not."""
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


def hexadecimal(path: str, width: int):
    """Lines with a file's bytes."""
    with open(path, "rb") as file:
        while True:
            piece = file.read(width)
            if not piece:
                return
            yield information("+FILES", hexlify(piece))
