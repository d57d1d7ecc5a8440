"""The device's tokenizer equals the host's `tokenizers` library on any text, within its memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitnet_cli.model import modelfile, tokenizer
from bitnet_cli.paths import STOCK_MODEL
from support import toy
from support.texts import awkward_texts

START, END = 1, 2


def encode(on_device: Callable[..., Any], model: Path, phrases: list[str], capacity: int = 256) -> Any:
    return on_device("tokens.py", model, capacity, lines=[phrase.encode().hex() for phrase in phrases])


def test_equals_the_host(on_device: Callable[..., Any], random_model: Path) -> None:
    phrases = awkward_texts(3000)
    for phrase, (tokens, _) in zip(phrases, encode(on_device, random_model, phrases), strict=True):
        expected = toy.host_tokenizer().encode(phrase).ids
        assert [token for token, _, _ in tokens] == expected, phrase


def test_long_texts(on_device: Callable[..., Any], random_model: Path) -> None:
    long = ["x" * 4000, "1" * 4000, " " * 4000, "?" * 3000, "living room" * 300]
    phrases = ["".join(awkward_texts(200)), *long]
    for phrase, (tokens, _) in zip(phrases, encode(on_device, random_model, phrases, 40_000), strict=True):
        expected = toy.host_tokenizer().encode(phrase).ids
        assert [token for token, _, _ in tokens] == expected


def test_positions_and_marks(on_device: Callable[..., Any], random_model: Path) -> None:
    phrases = awkward_texts(500)
    for phrase, (tokens, length) in zip(phrases, encode(on_device, random_model, phrases), strict=True):
        expected = tokenizer.encode(toy.host_tokenizer(), phrase)
        assert length == len(expected.normal)
        assert tokens == [
            [token.id, token.at, START * token.starts_word | END * token.ends_word]
            for token in expected.tokens
        ]


def test_token_texts(on_device: Callable[..., Any], random_model: Path) -> None:
    (found,) = on_device("texts.py", random_model)
    assert [bytes.fromhex(text) for text in found] == toy.token_texts()


@pytest.mark.skipif(not STOCK_MODEL.exists(), reason="no stock model yet")
def test_stock_tables() -> None:
    assert modelfile.part_sizes(STOCK_MODEL.read_bytes())["tokenizer"] <= 32 * 1024
