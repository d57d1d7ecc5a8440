"""Byte-level byte-pair encoding, section 1.3 of native/SPEC.md, with the `tokenizers` library."""

import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ..errors import BitnetError

UInt16 = npt.NDArray[np.uint16]

_WORDS = r"'[a-z]+| ?[a-z]+| ?[0-9]| ?[^ a-z0-9']+| ?'| "
_BYTES = 256
_EMPTY = 0xFFFF
_MAX_MERGES = 3 << 13  # three quarters of the largest hash table
_HEADER = struct.Struct("<4H")
_SPECIAL_KEY = re.compile(r"<(?:intent|slot|feature):(.+)>", re.DOTALL)


class Token(NamedTuple):
    """A token of an encoded text. A token that begins a word may begin with the space before it."""

    id: int
    text: bytes
    """The token's bytes in lower case; a text's first token has the space that was put before it."""
    at: int
    """Where the token begins in the normalized bytes (Encoded.normal)."""
    start: int
    """Half-open span of characters of the original text; characters cut in two belong to both tokens."""
    end: int
    starts_word: bool
    ends_word: bool


@dataclass(frozen=True)
class Encoded:
    """A text and its tokens; `normal` is what was cut: the text as bytes, lower case, after one space."""

    text: str
    normal: bytes
    tokens: list[Token]

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


@dataclass(frozen=True)
class Tables:
    """The tokenizer section, read: uint16[M, 2] merges, uint16[2^h] hash, and each token's bytes."""

    merges: UInt16
    hash: UInt16
    texts: list[bytes]


def train_tokenizer(texts: Iterable[str], vocab_budget: int, specials: Sequence[str]) -> Tokenizer:
    """Train a tokenizer of at most vocab_budget tokens: 256 bytes, merges, and the specials.

    The specials are entries of the vocabulary that no text can produce, in the order given, at its end.
    """
    if not _BYTES + len(specials) <= vocab_budget <= 32768 or len(set(specials)) != len(specials):
        raise BitnetError(
            f"the vocabulary must have room for 256 bytes and {len(specials)} special tokens, "
            f"all different, and at most 32768 tokens; {vocab_budget} does not fit"
        )
    tokenizer = _pipeline(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_budget - len(specials),
        min_frequency=2,
        initial_alphabet=sorted(_ALPHABET),
        show_progress=False,
        special_tokens=[],
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _renumber(_merges_of(tokenizer), specials)


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a `tokenizer.json` as train_tokenizer makes it; raises BitnetError on any other."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise BitnetError(f"{path}: not a tokenizer: {error}") from None
    ours, found = (json.loads(t.to_str()) for t in (_pipeline(Tokenizer(models.BPE())), tokenizer))
    for part in ("normalizer", "pre_tokenizer", "added_tokens"):
        if ours[part] != found[part]:
            raise BitnetError(
                f"{path}: its {part} is not the one the boards have; train a tokenizer with this tool"
            )
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> Encoded:
    """Encode a text into tokens, with their places in it. Nothing in a text is a special token."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise BitnetError("the text is not valid Unicode") from None
    normal = b" " + data.translate(_LOWER) if data else b""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    # The character that each byte of `normal` belongs to; the space put before the text counts to the first.
    characters = [0, *(i for i, character in enumerate(text) for _ in character.encode())]
    words = [None, *encoding.word_ids, None]
    tokens, at = [], 0
    for i, (token_id, name) in enumerate(zip(encoding.ids, encoding.tokens, strict=True)):
        token = _to_bytes(name)
        end = at + len(token)
        span = characters[at], characters[end - 1] + 1
        starts_word, ends_word = words[i + 1] != words[i], words[i + 1] != words[i + 2]
        tokens.append(Token(token_id, token, at, *span, starts_word, ends_word))
        at = end
    if at != len(normal):
        raise BitnetError("the tokenizer does not keep every byte of the text; it is not one of this tool's")
    return Encoded(text, normal, tokens)


def special_text(key: str) -> str:
    """Return the bare name of a special token: `room` of `<slot:room>`; `<|user|>` stays as it is."""
    match = _SPECIAL_KEY.fullmatch(key)
    return match[1] if match else key


def tokenizer_section(tokenizer: Tokenizer, specials: Sequence[str]) -> bytes:
    """Return the section of the file; specials are those the tokenizer was trained with, in that order."""
    ids = tokenizer.get_vocab()
    pairs = [(ids[left], ids[right]) for left, right in _merges_of(tokenizer)]
    texts = [bytes([byte]) for byte in range(_BYTES)]
    for left, right in pairs:
        texts.append(texts[left] + texts[right])
    expected = {_to_name(text): i for i, text in enumerate(texts)}
    expected |= {key: len(texts) + i for i, key in enumerate(specials)}
    if ids != expected:
        raise BitnetError(
            "the tokenizer's vocabulary is not bytes, merges and the special tokens, in this order"
        )
    texts += [special_text(key).encode() for key in specials]
    offsets = np.cumsum([0, *map(len, texts)])
    if offsets[-1] > 0xFFFF:
        raise BitnetError(f"the tokens' texts take {offsets[-1]} bytes, 65535 fit; train with fewer tokens")
    table = _hash_table(pairs)
    header = _HEADER.pack(len(pairs), len(table).bit_length() - 1, len(texts), 0)
    tables = (np.array(pairs, "<u2").reshape(-1), table.astype("<u2"), offsets.astype("<u2"))
    return header + b"".join(part.tobytes() for part in tables) + b"".join(texts)


def read_section(section: bytes) -> Tables:
    """Read the tables of a section, and check that all lookups end and are right. Raises BitnetError."""
    if len(section) < _HEADER.size:
        raise BitnetError("the tokenizer is truncated")
    merge_count, hash_bits, token_count, reserved = _HEADER.unpack_from(section)
    counts = (2 * merge_count, 1 << hash_bits if hash_bits <= 15 else 0, token_count + 1)
    blob_at = _HEADER.size + 2 * sum(counts)
    if (
        reserved
        or not 1 <= hash_bits <= 15
        or not _BYTES + merge_count <= token_count
        or len(section) < blob_at
    ):
        raise BitnetError("the tokenizer is damaged: its tables do not fit its section")
    numbers = np.frombuffer(section, "<u2", sum(counts), _HEADER.size)
    merges, table, offsets = np.split(numbers, np.cumsum(counts)[:-1])
    if (
        offsets[0]
        or (np.diff(offsets.astype(np.int64)) < 0).any()
        or len(section) != blob_at + int(offsets[-1])
    ):
        raise BitnetError("the tokenizer is damaged: its texts do not fit its section")
    blob = section[blob_at:]
    texts = [blob[start:end] for start, end in pairwise(offsets.tolist())]
    tables = Tables(merges.reshape(-1, 2), table, texts)
    _check_tables(tables)
    return tables


def from_section(section: bytes) -> Tokenizer:
    """Return the tokenizer whose tables these are. Raises BitnetError."""
    tables = read_section(section)
    merges = [tuple(_to_name(tables.texts[token]) for token in pair) for pair in tables.merges]
    # Of the specials only their number matters, but their names must not be those of merges.
    specials = [f"\0{token}" for token in range(_BYTES + len(merges), len(tables.texts))]
    return _renumber([(left, right) for left, right in merges], specials)


def find_merge(tables: Tables, left: int, right: int) -> int | None:
    """Return the number of the merge of a pair, looked up in the hash as a board does."""
    mask = len(tables.hash) - 1
    slot = _slot(left, right, mask.bit_length())
    while (merge := int(tables.hash[slot])) != _EMPTY:
        if (left, right) == tuple(tables.merges[merge].tolist()):
            return merge
        slot = (slot + 1) & mask
    return None


def _pipeline(tokenizer: Tokenizer) -> Tokenizer:
    """Do steps 1 and 2 of SPEC 1.3."""
    letters = [chr(code) for code in range(ord("A"), ord("Z") + 1)]
    lower: list[Any] = [normalizers.Replace(letter, letter.lower()) for letter in letters]
    tokenizer.normalizer = normalizers.Sequence([*lower, normalizers.Prepend(" ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Return pairs of token names in the order of their ranks."""
    model = json.loads(tokenizer.to_str())["model"]
    return [(left, right) for left, right in model["merges"]]


def _renumber(merges: list[tuple[str, str]], specials: Sequence[str]) -> Tokenizer:
    """Renumber tokens: bytes, one per merge, the specials. A second merge to the same text is dropped."""
    vocab = {_to_name(bytes([byte])): byte for byte in range(_BYTES)}
    kept: list[tuple[str, str]] = []
    for left, right in merges:
        result = left + right
        if left in vocab and right in vocab and result not in vocab and result not in specials:
            if len(kept) == _MAX_MERGES:
                break
            vocab[result] = len(vocab)
            kept.append((left, right))
    vocab |= {key: len(vocab) + i for i, key in enumerate(specials)}
    return _pipeline(Tokenizer(models.BPE(vocab=vocab, merges=kept)))


def _hash_table(pairs: Sequence[tuple[int, int]]) -> UInt16:
    """Return the smallest table that leaves a quarter of its entries empty."""
    bits = 1
    while 4 * len(pairs) > 3 << bits:
        bits += 1
    if bits > 15:
        raise BitnetError(f"{len(pairs)} merges are too many, {_MAX_MERGES} fit; train with fewer tokens")
    table = np.full(1 << bits, _EMPTY, np.uint16)
    for merge, (left, right) in enumerate(pairs):
        slot = _slot(left, right, bits)
        while table[slot] != _EMPTY:
            slot = (slot + 1) % len(table)
        table[slot] = merge
    return table


def _slot(left: int, right: int, bits: int) -> int:
    return (left * 40503 + right * 30011) % (1 << 16) >> (16 - bits)


def _check_tables(tables: Tables) -> None:
    entries = np.sort(tables.hash[tables.hash != _EMPTY])
    if 4 * len(entries) > 3 * len(tables.hash) or not np.array_equal(entries, np.arange(len(tables.merges))):
        raise BitnetError("the tokenizer is damaged: its hash table does not hold its merges")
    if tables.texts[:_BYTES] != [bytes([byte]) for byte in range(_BYTES)]:
        raise BitnetError("the tokenizer is damaged: its first tokens are not the bytes")
    for merge, (left, right) in enumerate(tables.merges.tolist()):
        own = _BYTES + merge
        if max(left, right) >= own or tables.texts[left] + tables.texts[right] != tables.texts[own]:
            raise BitnetError(f"the tokenizer is damaged: merge {merge} does not make its token")
        if find_merge(tables, left, right) != merge:
            raise BitnetError(f"the tokenizer is damaged: its hash table does not find merge {merge}")


def _byte_alphabet() -> str:
    """Return what `ByteLevel` writes for a byte: itself if printable Latin-1, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (chr(code) for code in range(0x100, 0x200))
    return "".join(chr(byte) if byte in printable else next(others) for byte in range(_BYTES))


_ALPHABET = _byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_ALPHABET)}
_LOWER = bytes(byte + 32 if ord("A") <= byte <= ord("Z") else byte for byte in range(_BYTES))


def _to_name(text: bytes) -> str:
    return "".join(_ALPHABET[byte] for byte in text)


def _to_bytes(name: str) -> bytes:
    return bytes(_BYTE_OF[character] for character in name)
