"""The device's tokenizer equals the host's `tokenizers` library on any text, within its memory."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy
from bitnet_cli.model import modelfile, tokenizer
from bitnet_cli.paths import STOCK_MODEL

START, END = 1, 2
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "abc ABC 012 ''' .,;:?!-",
    " '",
    "' s S t 9",
    '\0\n\r\t\x1b\x7f "\\',
    "äößéñ ÄÖÜ ßẞ İıſK Å",  # letters whose lower case is another length, or an ASCII letter
    "日本語 한국어 дом हिन्दी עברית",
    "😀👩\u200d👩\u200d👧 ☀️\u00a0\u2003\u3000\ufeff",
    "<|system|> <|user|> <|end|>",
)


def texts(count: int) -> list[str]:
    rng = random.Random(3)
    phrases = [*toy.CORPUS, "", " ", "  ", "'", "a", "A", "9", "'s", " 's", "'S", "x" * 255]
    while len(phrases) < count:
        kind = rng.randrange(4)
        if kind == 0:
            words = " ".join(toy.CORPUS).split()
            text = rng.choice(("", " ", "  ")).join(rng.choices(words, k=rng.randrange(1, 12)))
            text = "".join(c.upper() if rng.random() < 0.2 else c for c in text)
        elif kind == 1:
            text = "".join(
                chr(rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))) for _ in range(20)
            )
        else:
            alphabet = rng.choice(ALPHABETS) + (rng.choice(ALPHABETS) if kind == 2 else "")
            text = "".join(rng.choices(alphabet, k=rng.randrange(1, 80)))
        while len(text.encode()) > 255:
            text = text[:-1]
        phrases.append(text)
    return phrases


def encode(on_device: Callable[..., Any], model: Path, phrases: list[str], capacity: int = 256) -> Any:
    return on_device("tokens.py", model, capacity, lines=[phrase.encode().hex() for phrase in phrases])


def test_equals_the_host(on_device: Callable[..., Any], random_model: Path) -> None:
    phrases = texts(3000)
    for phrase, (tokens, _) in zip(phrases, encode(on_device, random_model, phrases), strict=True):
        expected = toy.host_tokenizer().encode(phrase).ids
        assert [token for token, _, _ in tokens] == expected, phrase


def test_long_texts(on_device: Callable[..., Any], random_model: Path) -> None:
    phrases = ["".join(texts(200)), "x" * 4000, "1" * 4000, " " * 4000, "?" * 3000, "living room" * 300]
    for phrase, (tokens, _) in zip(phrases, encode(on_device, random_model, phrases, 40_000), strict=True):
        expected = toy.host_tokenizer().encode(phrase).ids
        assert [token for token, _, _ in tokens] == expected


def test_positions_and_marks(on_device: Callable[..., Any], random_model: Path) -> None:
    phrases = texts(500)
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
