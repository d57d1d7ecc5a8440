"""Fetches the public data sets that results are measured on: none of them is part of the project.

`PYTHONPATH=tests python -m support.public_data` puts them into build/data, where tests look for them, and
checks each against its SHA-256. HWU64, Home Assistant's sentences and UCI's Occupancy Detection are all
CC BY 4.0.
"""

import hashlib
import io
import json
import re
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from bitnet_cli.errors import BitnetError
from bitnet_cli.files import write_atomically

_ROOT = Path(__file__).parents[2]
_FETCHED = _ROOT / "build" / "data"
_PLACES = (_ROOT.parent / "shared" / "data", _FETCHED)
FOLDER = next((place for place in _PLACES if place.is_dir()), _FETCHED)
_MINUTE = 60.0

Files = dict[str, bytes]
"""The files of a data set by their path."""


def needs(name: str) -> pytest.MarkDecorator:
    """Mark tests that skip where a data set is not there."""
    return pytest.mark.skipif(
        not (FOLDER / name).is_dir(),
        reason=f"{name} is not there: `PYTHONPATH=tests python -m support.public_data` fetches it",
    )


@dataclass(frozen=True)
class DataSet:
    """A data set, as an archive that its makers publish.

    convert: makes what is used of the archive's files. sha256: digest() of that.
    """

    name: str
    archive: str
    convert: Callable[[Files], Files]
    sha256: str

    def write(self, archive: bytes, folder: Path) -> None:
        """Write what is used of an archive. Raises BitnetError if it is not what was measured on."""
        try:
            files = self.convert(_unpacked(archive))
        except (KeyError, zipfile.BadZipFile):
            files = {}
        if digest(files) != self.sha256:
            raise BitnetError(f"{self.archive} is not what the results were measured on: its SHA-256 differs")
        for name, data in files.items():
            path = folder / self.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)


def _unpacked(archive: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {entry.filename: file.read(entry) for entry in file.infolist() if not entry.is_dir()}


def digest(files: Files) -> str:
    """Return the SHA-256 of all files, each after its name and its size."""
    sha256 = hashlib.sha256()
    for name, data in sorted(files.items()):
        sha256.update(f"{name} {len(data)}\n".encode() + data)
    return sha256.hexdigest()


def _below(files: Files, folder: str) -> Files:
    """Return the files of a folder that may lie below another, by their path in it."""
    parts = ((name.partition(f"{folder}/"), data) for name, data in files.items())
    return {rest: data for (_, found, rest), data in parts if found}


def hwu64(archive: Files) -> Files:
    """Convert one file of phrases and one of labels to JSON lines."""
    files = _below(archive, "Datasets/HWU64")

    def rows(part: str) -> Iterator[dict[str, str]]:
        texts, labels = (files[f"{part}/{name}"].decode().splitlines() for name in ("seq.in", "label"))
        for text, label in zip(texts, labels, strict=True):
            yield {"text": text, "intent": label}

    return {f"{part}.jsonl": _json_lines(rows(part)) for part in ("train", "valid", "test")}


def home_assistant(archive: Files) -> Files:
    """Keep the English sentences, and convert their tests to JSON lines of intent and slots."""
    sentences, tests = _below(archive, "sentences/en"), _below(archive, "tests/en")
    return (
        {f"sentences/en/{name}": data for name, data in sentences.items()}
        | {f"tests/en/{name}": data for name, data in tests.items()}
        | {"test.jsonl": _json_lines(_home_assistant_rows(tests))}
    )


# The templates imply these; they are not said.
_IMPLIED = ("domain", "device_class", "state", "media_class")


def _home_assistant_rows(tests: Files) -> Iterator[dict[str, Any]]:
    seen = set()
    for name, data in sorted(tests.items()):
        if "/" in name:
            continue
        for test in yaml.safe_load(data).get("tests", []):
            for sentence in test["sentences"]:
                text = " ".join(re.sub(r"[,?!/]|\.(?!\d)", " ", sentence).lower().split())
                if text not in seen and test["intent"]["name"] != "HassNevermind":  # it has no templates
                    seen.add(text)
                    yield {"text": text, "intent": test["intent"]["name"], **_slots(text, test["intent"])}


def _slots(text: str, intent: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the `slots`, whose values stand in the text, and the `context`, whose values do not."""
    slots, context = {}, {}
    for name, value in sorted((intent.get("slots") or {}).items()):
        said = (" ".join(map(repr, value)) if isinstance(value, list) else str(value)).lower()
        stands = name not in _IMPLIED and re.search(rf"(?<!\w){re.escape(said)}(?!\w)", text)
        (slots if stands else context)[name] = said
    return {"slots": slots, "context": context}


def occupancy(archive: Files) -> Files:
    """Keep the three files of readings."""
    wanted = ("datatraining.txt", "datatest.txt", "datatest2.txt")
    return {Path(name).name: data for name, data in archive.items() if Path(name).name in wanted}


def _json_lines(rows: Iterator[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


DATA_SETS = (
    DataSet(
        "hwu64",
        "https://github.com/jianguoz/Few-Shot-Intent-Detection/archive/fa9553312b1dba54b1be0aae2d30b13171f898e5.zip",
        hwu64,
        "6d5005c7d7e1f86a9c9c26424e553631df9debcd3e2aa7da4c9759dfc31aba34",
    ),
    DataSet(
        "home_assistant",
        "https://github.com/home-assistant/intents/archive/aa550032a57b67c13995c032220bc4101521ead2.zip",
        home_assistant,
        "bc62faa0c30dfb4f0ef57828a80481ec3a616f5ef40db1cbebe8a8974b266ff0",
    ),
    DataSet(
        "occupancy",
        "https://archive.ics.uci.edu/static/public/357/occupancy+detection.zip",
        occupancy,
        "8b29f232c8c124f1612e155bc786b2bfb63e554e48e4fc30fc725d8cf0dea175",
    ),
)


def main() -> None:
    """Fetch what is not there yet."""
    for data_set in DATA_SETS:
        if (_FETCHED / data_set.name).is_dir():
            continue
        print(f"{data_set.name}: fetching {data_set.archive}", file=sys.stderr)
        try:
            with urllib.request.urlopen(data_set.archive, timeout=_MINUTE) as response:
                archive = response.read()
        except OSError as error:
            raise BitnetError(f"{data_set.archive} cannot be fetched: {error}") from None
        data_set.write(archive, _FETCHED)


if __name__ == "__main__":
    try:
        main()
    except BitnetError as error:
        sys.exit(str(error))
