"""Fallback rules, which answer when the model cannot: made from the phrases that the model is trained on."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import BitnetError
from ..files import read_file
from ..model.grammar import Labels
from ..phrases.phrases import Phrase
from ..progress import Progress
from . import intents, slots
from .intents import Sample
from .patterns import check_line
from .slots import SlotSample

FILE_NAME = "rules.txt"
"""The name of the file of rules in a checkpoint's folder."""

MAX_BYTES = 4096
MAX_RULES = 64

_HEAD = "# Made from the training phrases: intent, pattern, slots; =slot, pattern. The first match wins.\n"
_SLOT_SHARE = 1 / 3  # of the bytes
_MAX_LINE = 255  # bytes, as on boards
_SAMPLES = 16_000  # more phrases make it slower, and hardly better
_QUOTES = (b"'", "’".encode())
_INNER = b".,:"


def rules_path(model: Path) -> Path:
    """Return where the rules lie that belong to a `.bitnet` file: beside it."""
    return model.with_suffix(".rules")


def read_rules(model: Path) -> bytes | None:
    """Read the rules beside a `.bitnet` file, if any. Raises BitnetError for a line that boards skip."""
    path = rules_path(model)
    if not path.is_file():
        return None
    data = read_file(path)
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.rstrip(b"\r").decode()
            if text and not text.startswith("#"):
                check_line(text)
        except ValueError as error:
            raise BitnetError(f"{path}:{number}: {error}") from None
        if len(line) > _MAX_LINE:
            raise BitnetError(f"{path}:{number}: a line has at most {_MAX_LINE} bytes")
    return data


def generate(phrases: Sequence[Phrase], labels: Labels, progress: Progress) -> str:
    """Generate a file of rules, of at most MAX_BYTES, for phrases of `labels`; the same for the same phrases.

    Phrases of the intent `unknown` are those that no rule should match.
    """
    step = -(-len(phrases) // _SAMPLES)
    samples = {sample: phrase for sample, phrase in map(_sample, phrases[::step])}
    room = MAX_BYTES - len(_HEAD)
    slot_samples = _slot_samples(samples.items(), labels)
    slot_lines = slots.learn(slot_samples, labels.slots, int(_SLOT_SHARE * room), progress)
    room -= sum(len(line.encode()) + 1 for line in slot_lines)
    lines = intents.learn(list(samples), labels, room, MAX_RULES, progress) + slot_lines
    return _HEAD + "".join(line + "\n" for line in lines if _is_rule(line))


def _is_rule(line: str) -> bool:
    """Tell whether boards take a line; they do not if the name of an intent or slot is a strange one."""
    try:
        check_line(line)
    except ValueError:
        return False
    return len(line.encode()) <= _MAX_LINE


def _sample(phrase: Phrase) -> tuple[Sample, Phrase]:
    data, places = normalize(phrase.text)
    masked = bytearray(data)
    for start, end in phrase.spans.values():
        begin, stop = len(phrase.text[:start].encode()), len(phrase.text[:end].encode())
        for i, place in enumerate(places):
            if begin <= place < stop and data[i : i + 1] != b" ":
                masked[i] = ord("*")
    words = ["*" if "*" in word else word for word in masked.decode().split()]
    return Sample(data.decode(), f" {' '.join(words)} ", phrase.intent), phrase


def _slot_samples(samples: Collection[tuple[Sample, Phrase]], labels: Labels) -> dict[str, list[SlotSample]]:
    found: dict[str, list[SlotSample]] = {slot: [] for slot in labels.slots}
    counts = Counter(sample.intent for sample, _ in samples)
    for sample, phrase in samples:
        for slot in labels.allowed[sample.intent]:
            value = normalize(phrase.slots.get(slot, ""))[0].decode().strip()
            found[slot].append(SlotSample(sample.text, value, 1 / counts[sample.intent]))
    return found


def normalize(text: str) -> tuple[bytes, list[int]]:
    """Normalize a phrase as rules see it, in UTF-8; also return where each byte is from in the text's UTF-8.

    device/bitnet/rules.py says what is kept of a phrase.
    """
    data = text.encode()
    phrase, places = bytearray(b" "), [0]
    at = 0
    while at < len(data):
        quote = next((quote for quote in _QUOTES if data.startswith(quote, at)), b"")
        if quote:
            at += len(quote)
            continue
        byte = data[at : at + 1].lower()
        if not _is_kept(data, at):
            byte = b" "
        elif phrase[-1:].isdigit() and not byte.isdigit() and byte not in b" -.,:":
            phrase += b" "
            places.append(at)
        if byte != b" " or phrase[-1:] != b" ":
            phrase += byte
            places.append(at)
        at += 1
    if phrase[-1:] != b" ":
        phrase += b" "
        places.append(len(data) - 1)
    return bytes(phrase), places


def _is_kept(data: bytes, at: int) -> bool:
    byte, before, after = data[at : at + 1], data[at - 1 : at] if at else b"", data[at + 1 : at + 2]
    if byte.isalnum() or byte >= b"\x80" or byte == b"%":
        return True
    if byte == b"-":
        return after.isdigit() and before in (b"", b" ")
    return byte in _INNER and before.isdigit() and after.isdigit()
