"""Phrases to test with or to train on as they are, in JSONL and CSV. Templates are in templates.py.

Every phrase knows where its slot values stand in its text, so that the model can learn to copy them.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BitnetError

NUMBER, TEXT = "number", "text"  # the kinds of slots
UNLABELLED = "?"  # the intent of a collected phrase that a person has yet to label

_NUMBER = re.compile(r"-?\d+([.,:]\d+)*")


@dataclass(frozen=True)
class Phrase:
    """A text, its intent, the half-open character spans of its slot values, and the bins of its features.

    The text may be empty if there are features.
    """

    text: str
    intent: str
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    features: dict[str, int] = field(default_factory=dict)

    @property
    def slots(self) -> dict[str, str]:
        """Slot values as they stand in the text."""
        return {name: self.text[start:end] for name, (start, end) in self.spans.items()}


def read_phrases(path: Path) -> list[Phrase]:
    """Read phrases of a .jsonl or .csv file: `text`, `intent`, perhaps `slots` (name → value in the text)

    and, in .jsonl, `features` (name → number of its bin).
    """
    text = _read_text(path)
    rows = _csv_rows(text, path) if path.suffix == ".csv" else _jsonl_rows(text, path)
    numbered = [(number, _phrase(row, path, number)) for number, row in rows]
    _require_labels(numbered, path)
    phrases = [phrase for _, phrase in numbered]
    if not phrases:
        raise BitnetError(f"{path}: has no phrases; give it at least one line with `text` and `intent`")
    return phrases


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a .jsonl file of phrases as they stand, labelled or not. Raises BitnetError."""
    rows = list(_jsonl_rows(_read_text(path), path))
    for number, row in rows:
        if not isinstance(row.get("text"), str) or not isinstance(row.get("intent"), str):
            raise BitnetError(f"{path}:{number}: `text` and `intent` must be strings")
    return [row for _, row in rows]


def is_number(text: str) -> bool:
    """Tell whether a slot value is digits, perhaps with a minus sign before them and a decimal point."""
    return bool(_NUMBER.fullmatch(text))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BitnetError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BitnetError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _jsonl_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BitnetError(f"{path}:{number}: not JSON: {getattr(error, 'msg', error)}") from error
            if not isinstance(row, dict):
                raise BitnetError(f"{path}:{number}: each line is an object with `text` and `intent`")
            _require_text(row, path, number)
            yield number, row


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    if not {"text", "intent"} <= set(reader.fieldnames or ()):
        raise BitnetError(f"{path}: the first line must name the columns: text,intent (and slots, as JSON)")
    try:
        for row in reader:
            slots = (row.get("slots") or "").strip()
            values = json.loads(slots) if slots else {}
            _require_text(values, path, reader.line_num)
            yield reader.line_num, {**row, "slots": values}
    except (ValueError, RecursionError) as error:
        raise BitnetError(
            f"{path}:{reader.line_num}: `slots` is not JSON: {getattr(error, 'msg', error)}"
        ) from error
    except csv.Error as error:
        raise BitnetError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _require_text(values: object, path: Path, number: int) -> None:
    r"""Refuse half a surrogate pair: JSON can say it ("\ud800"), UTF-8 cannot."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise BitnetError(
            f"{path}:{number}: {half!r} is half a character: write it whole, or leave it out"
        ) from None


def _require_labels(numbered: list[tuple[int, Phrase]], path: Path) -> None:
    lines = [str(number) for number, phrase in numbered if phrase.intent == UNLABELLED]
    if lines:
        named = ", ".join(lines[:10]) + (f" and {len(lines) - 10} more" if len(lines) > 10 else "")
        raise BitnetError(
            f"{path}: the intent is still {UNLABELLED!r} in line {named}: write it, or delete the line"
        )


def _phrase(row: dict[str, Any], path: Path, number: int) -> Phrase:
    text, intent, slots = row.get("text"), row.get("intent"), row.get("slots") or {}
    features = row.get("features") or {}
    if not isinstance(features, dict) or not all(type(bin_) is int for bin_ in features.values()):
        raise BitnetError(f"{path}:{number}: `features` must be an object of name and number of the bin")
    if (
        not isinstance(text, str)
        or not isinstance(intent, str)
        or not intent
        or not (text.strip() or features)
    ):
        raise BitnetError(f"{path}:{number}: `text` and `intent` must be non-empty strings")
    if not isinstance(slots, dict):
        raise BitnetError(f"{path}:{number}: `slots` must be an object of name and value")
    spans = {}
    for name, value in slots.items():
        match = re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", text, re.IGNORECASE) or re.search(
            re.escape(str(value)), text, re.IGNORECASE
        )
        if not match or match.start() == match.end():
            raise BitnetError(f"{path}:{number}: slot {name}: {value!r} does not stand in the text")
        spans[name] = match.span()
    return Phrase(text, intent, spans, features)
