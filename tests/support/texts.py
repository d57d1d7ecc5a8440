"""Texts on which tokenizers and normalizers are likely to differ."""

import random

from . import toy

_ALPHABETS = (
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


def awkward_texts(count: int) -> list[str]:
    """Return `count` texts of at most 255 bytes, always the same: words, any characters, mixed alphabets."""
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
            alphabet = rng.choice(_ALPHABETS) + (rng.choice(_ALPHABETS) if kind == 2 else "")
            text = "".join(rng.choices(alphabet, k=rng.randrange(1, 80)))
        while len(text.encode()) > 255:
            text = text[:-1]
        phrases.append(text)
    return phrases
