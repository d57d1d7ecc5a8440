"""The tokenizer: `tokenizers` against the rules of native/SPEC.md 1.3, written out; section, offsets."""

import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.model import tokenizer
from bitnet_cli.model.tokenizer import Tables
from tokenizers import Tokenizer

SPECIALS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<intent:read_temperature>", "<slot:room>"]
CORPUS = [
    "What's the temperature in the living room?",
    "it's 21.5 °C in the kitchen, isn't it",
    "set the thermostat to 22 degrees",
    "please turn the lights off at half past six",
    "Küche und Bäder heizen, bitte  <|user|> <|end|>",
    "100 % of the 3 lamps ... !!! don't ''quote'' me 👩‍👩‍👧 日本語",
] * 4
CHARACTERS = [
    *"abcdefghijklmnopqrstuvwxyz" * 2, *"ABCXYZ", *"0123456789", *" '" * 12, *".,?!-_<|>:%\"\\/()[]{}@^`~",
    "\0", "\x01", "\t", "\n", "\r", "\x7f", "\x80", "\x85", "\xa0", "\xad", "\u0300", "\u0301", "\u200b",
    "\u200d", "\u2028", "\u3000", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "é", "É", "ß", "ẞ",
    "\u0130", "\u0131", "\u017f", "\u212a", "\u212b", "\ufb01", "\u01c4", "Σ", "ς", "Ж", "ж", "’", "°",
    "\u0663", "²", "½", "Ⅷ", "中", "한", "ก็", "👍", "🏽", "🇩🇪", "👩\u200d👩\u200d👧",
]  # fmt: skip
SNIPPETS = [
    *CORPUS,
    *SPECIALS,
    "<unk>",
    "Ġthe",
    "'ll",
    " 's",
    "it's",
    "  ",
    "   ",
    "a" * 300,
    "7" * 50,
    "\u0130" * 20,
]


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return tokenizer.train_tokenizer(CORPUS, 380, SPECIALS)


@pytest.fixture(scope="module")
def tables(trained: Tokenizer) -> Tables:
    return tokenizer.read_section(tokenizer.tokenizer_section(trained, SPECIALS))


# --- SPEC 1.3, as it reads ---


def cut(text: bytes) -> list[bytes]:
    """Words, by the rules (a) to (f)."""

    def kind(i: int) -> str:
        if i >= len(text):
            return "end"
        c = text[i : i + 1]
        return (
            "letter"
            if b"a" <= c <= b"z"
            else "digit"
            if b"0" <= c <= b"9"
            else {b" ": "space", b"'": "'"}.get(c, "other")
        )

    def run(i: int, wanted: str) -> int:
        while kind(i) == wanted:
            i += 1
        return i

    words, i = [], 0
    while i < len(text):
        after_space = i + 1 if kind(i) == "space" else i
        if kind(i) == "'" and kind(i + 1) == "letter":
            end = run(i + 1, "letter")
        elif kind(after_space) in ("letter", "other"):
            end = run(after_space, kind(after_space))
        elif kind(after_space) in ("digit", "'"):
            end = after_space + 1
        else:
            end = i + 1
        words.append(text[i:end])
        i = end
    return words


def reference(tables: Tables, text: str) -> list[list[int]]:
    """Token ids, word by word."""
    data = text.encode()
    data = bytes(c + 32 if 65 <= c <= 90 else c for c in data)
    words = cut(b" " + data if data else b"")
    result = []
    for word in words:
        tokens = list(word)
        while True:
            found = [
                (merge, i)
                for i in range(len(tokens) - 1)
                if (merge := tokenizer.find_merge(tables, tokens[i], tokens[i + 1])) is not None
            ]
            if not found:
                break
            merge, i = min(found)
            tokens[i : i + 2] = [256 + merge]
        result.append(tokens)
    return result


def random_text(rng: random.Random) -> str:
    pieces = [
        rng.choice(SNIPPETS) if rng.random() < 0.05
        else chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) if rng.random() < 0.05
        else rng.choice(CHARACTERS) * (1 if rng.random() < 0.9 else rng.randrange(2, 9))
        for _ in range(rng.randrange(25))
    ]  # fmt: skip
    return "".join(pieces)


def test_tokenizers_follows_the_rules_of_the_spec(trained: Tokenizer, tables: Tables) -> None:
    rng = random.Random(0)
    texts = [*SNIPPETS, *CHARACTERS, *(random_text(rng) for _ in range(5000))]
    seen = set()
    for text in texts:
        words = reference(tables, text)
        encoded = tokenizer.encode(trained, text)
        assert encoded.ids == [token for word in words for token in word], repr(text)
        assert [t.starts_word for t in encoded.tokens] == [i == 0 for word in words for i in range(len(word))]
        assert [t.ends_word for t in encoded.tokens] == [
            i == len(word) - 1 for word in words for i in range(len(word))
        ]
        seen.update(encoded.ids)
    assert len([token for token in seen if 256 <= token < 256 + len(tables.merges)]) > 80


def test_offsets_lead_back_to_the_text(trained: Tokenizer, tables: Tables) -> None:
    rng = random.Random(1)
    for text in [*SNIPPETS, *(random_text(rng) for _ in range(1000))]:
        encoded = tokenizer.encode(trained, text)
        assert b"".join(token.text for token in encoded.tokens) == encoded.normal
        for token in encoded.tokens:
            assert token.text == tables.texts[token.id]
            assert encoded.normal[token.at : token.at + len(token.text)] == token.text
            piece = text[token.start : token.end].encode().lower()
            assert (
                token.text.removeprefix(b" " if token.at == 0 else b"") in piece
                or "\u0130" in text
                or token.text[0] > 127
            )
        spans = [(token.start, token.end) for token in encoded.tokens]
        assert spans == sorted(spans)
        assert not text or (spans[0][0] == 0 and spans[-1][1] == len(text))


def test_special_tokens_do_not_come_out_of_text(trained: Tokenizer, tables: Tables) -> None:
    first_special = 256 + len(tables.merges)
    for key in SPECIALS:
        for text in (key, f" {key} ", f"tell me {key}{key}", tokenizer.special_text(key)):
            assert max(tokenizer.encode(trained, text).ids) < first_special
    # Even a corpus full of them yields no merge that would take their place.
    keen = tokenizer.train_tokenizer(["<|end|>"] * 100, 300, ["|>", " <|"])
    assert max(tokenizer.encode(keen, "<|end|>").ids) < keen.get_vocab_size() - 2
    assert keen.token_to_id("|>") == keen.get_vocab_size() - 2


def test_vocabulary_is_bytes_merges_specials(trained: Tokenizer, tables: Tables) -> None:
    assert trained.get_vocab_size() == len(tables.texts) <= 380
    assert tables.texts[:256] == [bytes([byte]) for byte in range(256)]
    names = [b"<|system|>", b"<|user|>", b"<|assistant|>", b"<|end|>", b"read_temperature", b"room"]
    assert tables.texts[-6:] == names
    assert len(set(tables.texts[:-6])) == len(tables.texts) - 6
    assert trained.token_to_id("<slot:room>") == len(tables.texts) - 1


def test_training_is_reproducible(trained: Tokenizer) -> None:
    """In another process too, whose hash seeds differ."""
    program = (
        "import sys, json; from bitnet_cli.model.tokenizer import train_tokenizer\n"
        "corpus, specials = json.load(sys.stdin)\n"
        "sys.stdout.buffer.write(train_tokenizer(corpus, 380, specials).to_str().encode())"
    )
    path = str(Path(tokenizer.__file__).parents[2])
    other = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{program}"],
        input=json.dumps([CORPUS, SPECIALS]).encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert other.stdout.decode() == trained.to_str()


def test_saved_and_loaded_is_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained.save(str(path))
    loaded = tokenizer.load_tokenizer(path)
    assert tokenizer.tokenizer_section(loaded, SPECIALS) == tokenizer.tokenizer_section(trained, SPECIALS)
    assert loaded.decode(tokenizer.encode(loaded, "Hello 日本").ids) == " hello 日本"


def test_other_tokenizers_are_refused(trained: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(BitnetError, match="not a tokenizer"):
        tokenizer.load_tokenizer(path)
    path.write_text("{}")
    with pytest.raises(BitnetError, match="not a tokenizer"):
        tokenizer.load_tokenizer(path)
    for part, value in (("normalizer", None), ("pre_tokenizer", None)):
        path.write_text(json.dumps(json.loads(trained.to_str()) | {part: value}))
        with pytest.raises(BitnetError, match=part):
            tokenizer.load_tokenizer(path)
    with pytest.raises(BitnetError, match="order"):
        tokenizer.tokenizer_section(trained, SPECIALS[::-1])
    for budget in (261, 32769):
        with pytest.raises(BitnetError, match="room for 256 bytes"):
            tokenizer.train_tokenizer(CORPUS, budget, SPECIALS)
    with pytest.raises(BitnetError, match="Unicode"):
        tokenizer.encode(trained, "\ud800")


def test_without_texts_there_are_only_bytes() -> None:
    bare = tokenizer.train_tokenizer([], 300, ["<|end|>"])
    section = tokenizer.tokenizer_section(bare, ["<|end|>"])
    assert section[:8] == struct.pack("<4H", 0, 1, 257, 0)
    assert tokenizer.encode(bare, "Aé").ids == [32, 97, 0xC3, 0xA9]
    assert tokenizer.read_section(section).texts[-1] == b"<|end|>"


def test_section_has_the_layout_of_the_spec(trained: Tokenizer, tables: Tables) -> None:
    section = tokenizer.tokenizer_section(trained, SPECIALS)
    count, bits, total, reserved = struct.unpack_from("<4H", section)
    assert (count, total, reserved) == (len(tables.merges), len(tables.texts), 0)
    assert 4 * count <= 3 << bits
    left, right = struct.unpack_from("<2H", section, 8 + 4 * 5)
    slot = (left * 40503 + right * 30011) % 65536 >> (16 - bits)
    table = struct.unpack_from(f"<{1 << bits}H", section, 8 + 4 * count)
    while table[slot] != 5:
        assert table[slot] != 0xFFFF
        slot = (slot + 1) % (1 << bits)


def test_damaged_sections_are_refused(trained: Tokenizer) -> None:
    section = tokenizer.tokenizer_section(trained, SPECIALS)
    for length in range(0, len(section), 7):
        with pytest.raises(BitnetError, match="tokenizer is"):
            tokenizer.read_section(section[:length])
    with pytest.raises(BitnetError, match="tokenizer is"):
        tokenizer.read_section(section + b"x")
    tables_end = len(section) - sum(map(len, tokenizer.read_section(section).texts)) - 2 * (len(SPECIALS) + 1)
    rng = np.random.default_rng(0)
    for offset in rng.choice(tables_end, 300, replace=False).tolist():
        damaged = bytearray(section)
        damaged[offset] ^= 1 << int(rng.integers(8))
        with pytest.raises(BitnetError, match="tokenizer is"):
            tokenizer.read_section(bytes(damaged))
