"""Whether a board computes what the host computes: tokens, logits to the last byte, answers."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..boards.at import Answer, AtClient
from ..boards.deploy import read_model
from ..boards.link import Link
from ..emulation import simulator
from ..errors import BitnetError
from ..model import tokenizer
from ..model.modelfile import read
from ..model.oracle import Oracle

TEXTS = (
    "hello",
    "What's the temp?",
    "  two  spaces, and one behind ",
    "\ttab\nand newline",
    "MiXeD CaSe",
    "it's 21.5 degrees; -3 outside",
    "zone2 zone 2",
    "''quotes'' \"and\" more",
    "Grüße aus Zürich, 21 °C",
    "日本語 🙂",
    "a",
    "1234567890" * 12,
    "!?#$%&()*+",
)
"""Whitespace, case, digits, quotes, and bytes that are no ASCII: where tokenizers differ."""

_GOLDEN_TOKENS = 12


@dataclass(frozen=True)
class Check:
    """One thing that was compared: how many there were, and the first that differed."""

    name: str
    count: int
    difference: str | None

    @property
    def is_good(self) -> bool:
        return self.difference is None


def validate(port: str, model: Path, phrases: Sequence[str]) -> list[Check]:
    """Compare a board that has been deployed to with the host. Raises BitnetError if it cannot be asked."""
    data = read_model(model)
    with Link(port, "checks.py") as link:
        _check_model(link, data, model)
        checks = [_compare_tokens(link, data), _compare_logits(link, data)]
    with AtClient(port) as client:
        client.wait_for_model()
        answers = [client.infer(phrase) for phrase in phrases]
    return [*checks, _compare_answers(model, phrases, answers)]


def _check_model(link: Link, data: bytes, model: Path) -> None:
    path, size, crc, _ = link.ask("model()")
    expected_size, expected_crc = len(data), read(data).crc32
    if (size, crc) != (expected_size, expected_crc):
        raise BitnetError(
            f"the board's model {path} ({size:,} bytes, CRC {crc:08X}) is not {model} ({expected_size:,} "
            f"bytes, CRC {expected_crc:08X}): deploy it, or name the right one with --model"
        )


def _compare_tokens(link: Link, data: bytes) -> Check:
    host = tokenizer.from_section(read(data).tokenizer)
    expected = [tokenizer.encode(host, text).ids for text in TEXTS]
    found = link.ask(f"tokens({[text.encode().hex() for text in TEXTS]!r})")
    return _compare("tokens of texts", [repr(text) for text in TEXTS], expected, found)


def _compare_logits(link: Link, data: bytes) -> Check:
    oracle = Oracle(data)
    sequence = [(7 + 211 * k) % oracle.config.vocab_size for k in range(_GOLDEN_TOKENS)]
    expected = []
    for token in sequence:
        oracle.feed([token])
        expected.append(zlib.crc32(oracle.logits().astype("<i4").tobytes()))
    found = link.ask(f"logit_sums({sequence!r})")
    names = [f"after token {k}" for k in range(len(sequence))]
    return _compare("logits of golden tokens", names, expected, found)


def _compare_answers(model: Path, phrases: Sequence[str], answers: Sequence[Answer]) -> Check:
    expected = [replace(answer, latency_ms=0) for answer in simulator.infer_many(model, phrases)]
    found = [replace(answer, latency_ms=0) for answer in answers]
    return _compare("answers to phrases", [json.dumps(phrase) for phrase in phrases], expected, found)


def _compare(what: str, names: Sequence[str], expected: Sequence[object], found: Sequence[object]) -> Check:
    for name, one, other in zip(names, expected, found, strict=True):
        if one != other:
            return Check(what, len(names), f"{name}: the board has {other}, the host {one}")
    return Check(what, len(names), None)
