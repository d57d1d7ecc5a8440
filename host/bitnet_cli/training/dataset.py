"""Training examples: prompt and reply as tokens, what the grammar allows in the reply, the teacher's view."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from ..errors import BitnetError
from ..model.features import FILE_NAME, feature_key
from ..model.grammar import Labels, allowed_sets, reply_tokens, template_beginning
from ..model.tokenizer import encode
from ..phrases.phrases import Phrase
from ..phrases.templates import PhraseBook, made_up_word

_UNLABELLED = -1
_BUCKETS = 8


@dataclass(frozen=True)
class Example:
    """One training sequence."""

    tokens: list[int]
    """Prompt and reply, without the closing `end`."""
    reply_start: int
    """Position whose next token is the intent."""
    intent: int
    """Index of the intent, -1 where only the teacher has an opinion."""
    targets: list[int]
    """Reply tokens after the intent, `end` included."""
    allowed: list[npt.NDArray[np.int64]]
    """For each of `targets`, the token ids the grammar allows there."""
    teacher: npt.NDArray[np.float32] | None
    """Probabilities of the intents."""
    droppable: list[int]
    """Positions of phrase tokens that are in no slot value."""


@dataclass(frozen=True)
class Batch:
    """Examples as tensors; `rows`/`columns` say where `targets` are predicted."""

    tokens: torch.Tensor
    lengths: torch.Tensor
    intent_columns: torch.Tensor
    intents: torch.Tensor
    teacher: torch.Tensor | None
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    allowed: torch.Tensor


def make_example(
    phrase: Phrase,
    labels: Labels,
    tokenizer: Tokenizer,
    system: Sequence[int],
    teacher: npt.NDArray[np.float32] | None = None,
) -> Example | None:
    """Make the tokens of a phrase and its reply; None if a slot value does not begin and end with words.

    Raises BitnetError if the phrase has a feature that the tokenizer has not.
    """
    encoded = encode(tokenizer, phrase.text)
    beginning = [*template_beginning(labels, system), *_feature_tokens(phrase, tokenizer)]
    prompt = [*beginning, *encoded.ids, labels.assistant]
    first = len(beginning)
    if not phrase.intent:
        return Example(
            prompt, len(prompt) - 1, _UNLABELLED, [], [], teacher, list(range(first, len(prompt) - 1))
        )
    reply = reply_tokens(labels, encoded, phrase.intent, phrase.spans)
    if reply is None:
        return None
    sets = allowed_sets(labels, encoded, reply)
    droppable = [
        first + i
        for i, token in enumerate(encoded.tokens)
        if not any(token.start < end and token.end > start for start, end in phrase.spans.values())
    ]
    return Example(
        prompt + reply[:-1],
        len(prompt) - 1,
        labels.intents.index(phrase.intent),
        reply[1:],
        [np.asarray(ids, np.int64) for ids in sets[1:]],
        teacher,
        droppable,
    )


def _feature_tokens(phrase: Phrase, tokenizer: Tokenizer) -> list[int]:
    tokens = []
    for name, bin_ in phrase.features.items():
        token = tokenizer.token_to_id(feature_key(name, bin_))
        if token is None:
            raise BitnetError(
                f"{phrase.text!r} has the feature {name}={bin_}, which {FILE_NAME} does not define"
            )
        tokens.append(token)
    # Ids are in the order of the definitions, and so the board's tokens come.
    return sorted(tokens)


def collate(
    examples: Sequence[Example], vocab_size: int, rng: np.random.Generator | None, drop: float
) -> Batch:
    """Pad examples to one length; with `rng`, replace a share `drop` of the droppable tokens by token 0."""
    length = max(len(e.tokens) for e in examples)
    tokens = np.zeros((len(examples), length), np.int64)
    rows, columns, targets, sets = [], [], [], []
    for row, example in enumerate(examples):
        tokens[row, : len(example.tokens)] = example.tokens
        if rng is not None and example.droppable:
            places = np.asarray(example.droppable)
            tokens[row, places[rng.random(len(places)) < drop]] = 0
        for i, (target, ids) in enumerate(zip(example.targets, example.allowed, strict=True)):
            if len(ids) > 1:
                rows.append(row)
                columns.append(example.reply_start + 1 + i)
                targets.append(target)
                sets.append(ids)
    allowed = torch.zeros(len(sets), vocab_size, dtype=torch.bool)
    if sets:
        lines = np.repeat(np.arange(len(sets)), [len(ids) for ids in sets])
        allowed[torch.from_numpy(lines), torch.from_numpy(np.concatenate(sets))] = True
    teachers = [e.teacher for e in examples if e.teacher is not None]
    return Batch(
        torch.from_numpy(tokens),
        torch.tensor([len(e.tokens) for e in examples]),
        torch.tensor([e.reply_start for e in examples]),
        torch.tensor([e.intent for e in examples]),
        torch.from_numpy(np.stack(teachers)) if len(teachers) == len(examples) else None,
        torch.tensor(rows, dtype=torch.long),
        torch.tensor(columns, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
        allowed,
    )


def shuffled(examples: Sequence[Example], size: int, rng: np.random.Generator) -> Iterator[list[Example]]:
    """Yield batches of `size` in random order, each of similar lengths so that little is padding."""
    order = rng.permutation(len(examples))
    for start in range(0, len(order), size * _BUCKETS):
        bucket = sorted(order[start : start + size * _BUCKETS], key=lambda i: len(examples[i].tokens))
        batches = [bucket[i : i + size] for i in range(0, len(bucket), size)]
        for index in rng.permutation(len(batches)):
            yield [examples[i] for i in batches[index]]


def draw(book: PhraseBook, count: int, unknown: str | None, rng: random.Random) -> list[Phrase]:
    """Draw `count` phrases: intents by the square root of their templates' number, one in six `unknown`."""
    names = [name for name in book.intents if name in book.templates]
    if not names:
        return []
    weights = [len(book.templates[name]) ** 0.5 for name in names]
    if unknown in names:
        weights[names.index(unknown)] = sum(weights) / 5
    return [book.sample(rng, name) for name in rng.choices(names, weights, k=count)]


def vary(phrase: Phrase, open_slots: set[str], rng: random.Random) -> Phrase:
    """Vary a phrase as another might type it: punctuation, apostrophes, a typing error, another name."""
    if rng.random() < 0.15:
        phrase = _rename_slot(phrase, open_slots, rng)
    text, spans = phrase.text, dict(phrase.spans)
    if "'" in text and rng.random() < 0.3:
        text, spans = _delete(text, spans, text.index("'"))
    if rng.random() < 0.08:
        free = [m.start() for m in re.finditer(r"\w", text) if not _in_spans(m.start(), spans)]
        if free and len(text) > 12:
            text, spans = _delete(text, spans, rng.choice(free))
    if rng.random() < 0.2 and text[-1:].isalnum():
        text += rng.choice(("?", ".", "!", "?"))
    return replace(phrase, text=text, spans=spans)


def _rename_slot(phrase: Phrase, open_slots: set[str], rng: random.Random) -> Phrase:
    names = sorted(open_slots & set(phrase.spans))
    if not names:
        return phrase
    start, end = phrase.spans[rng.choice(names)]
    value = " ".join(made_up_word(rng) for _ in range(rng.choice((1, 1, 2))))
    shift = len(value) - (end - start)
    spans = {}
    for name, (a, b) in phrase.spans.items():
        if a < end and b > start and (a, b) != (start, end):
            return phrase
        spans[name] = (a + shift * (a >= end), b + shift * (b >= end))
    return replace(phrase, text=phrase.text[:start] + value + phrase.text[end:], spans=spans)


def _in_spans(place: int, spans: dict[str, tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans.values())


def _delete(
    text: str, spans: dict[str, tuple[int, int]], place: int
) -> tuple[str, dict[str, tuple[int, int]]]:
    if _in_spans(place, spans):
        return text, spans
    moved = {name: (a - (a > place), b - (b > place)) for name, (a, b) in spans.items()}
    return text[:place] + text[place + 1 :], moved
