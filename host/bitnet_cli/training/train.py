"""Training: a phrase book becomes a checkpoint."""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from ..errors import BitnetError
from ..model.features import Feature
from ..model.grammar import Labels, specials
from ..model.tokenizer import encode, train_tokenizer
from ..phrases.phrases import NUMBER, TEXT, Phrase, is_number, read_phrases
from ..phrases.templates import PhraseBook
from ..progress import Progress
from ..rules.generate import generate
from .checkpoint import Checkpoint
from .dataset import Batch, Example, collate, draw, make_example, shuffled, vary
from .qat import BitNetLM
from .recipe import Recipe
from .teacher import Teacher

_TEACHER_TEXTS = 10_000
_WARM_UP = 100
_EMBEDDING_STD = 0.05


@dataclass(frozen=True)
class Course:
    """What a model is trained on: all that comes before the first step and does not depend on the seed."""

    examples: list[Example]
    tokenizer: Tokenizer
    labels: Labels
    token_vectors: np.ndarray | None
    """The teacher's embeddings [vocab, hidden] of the tokens' texts, of unit standard deviation."""
    features: tuple[Feature, ...] = ()


def train(book: PhraseBook, recipe: Recipe, progress: Progress) -> Checkpoint:
    """Train a model; the same book and recipe give the same checkpoint on the same machine and torch."""
    return fit(prepare(book, recipe, progress), recipe, progress)


def prepare(book: PhraseBook, recipe: Recipe, progress: Progress) -> Course:
    """Draw phrases, train the tokenizer, let the teacher judge."""
    if recipe.distillation and any(phrase.features for phrase in book.fixed):
        raise BitnetError(
            "the teacher knows texts only and some phrases have features: train without (--no-teacher)"
        )
    rng = random.Random(recipe.seed)
    phrases = _draw_phrases(book, recipe, rng)
    tokenizer_texts = [phrase.text for phrase in phrases] + [recipe.system]
    labels = make_labels(book, phrases, recipe)
    tokenizer = train_tokenizer(
        tokenizer_texts, recipe.vocab_budget, specials(labels.intents, list(labels.slots), book.features)
    )
    labels = labels.resolve(tokenizer)
    lesson = _distill(phrases, labels, tokenizer, recipe, rng, progress) if recipe.distillation else None
    system = encode(tokenizer, recipe.system).ids
    examples = _examples(phrases, lesson, labels, tokenizer, system)
    return Course(examples, tokenizer, labels, lesson.token_vectors if lesson else None, book.features)


def make_rules(book: PhraseBook, recipe: Recipe, progress: Progress) -> str:
    """Make fallback rules from the phrases that the recipe draws from the book."""
    phrases = _draw_phrases(book, recipe, random.Random(recipe.seed))
    return generate(phrases, make_labels(book, phrases, recipe), progress)


def _draw_phrases(book: PhraseBook, recipe: Recipe, rng: random.Random) -> list[Phrase]:
    drawn = draw(book, recipe.drawn_phrases, recipe.unknown, rng)
    return book.fixed + [vary(phrase, book.open_slots, rng) for phrase in drawn]


def fit(course: Course, recipe: Recipe, progress: Progress) -> Checkpoint:
    """Train a model from its first weights to the checkpoint."""
    torch.manual_seed(recipe.seed)
    model = BitNetLM(recipe.shape(course.tokenizer.get_vocab_size()))
    if course.token_vectors is not None:
        model.model.embed_tokens.weight.data = _EMBEDDING_STD * torch.from_numpy(course.token_vectors)
    _fit(model, course.examples, course.labels, recipe, progress)
    model.eval()
    return Checkpoint(model, course.tokenizer, course.labels, recipe.name, recipe.system, course.features)


def make_labels(book: PhraseBook, phrases: Sequence[Phrase], recipe: Recipe) -> Labels:
    """Return the intents and slots as declared, or as they occur in the phrases."""
    allowed: dict[str, list[str]] = {name: list(book.declared.get(name, [])) for name in book.intents}
    values: dict[str, list[str]] = {}
    for phrase in phrases:
        for slot, value in phrase.slots.items():
            values.setdefault(slot, []).append(value)
            if slot not in allowed[phrase.intent]:
                if phrase.intent in book.declared:
                    raise BitnetError(
                        f"{phrase.text!r}: intent {phrase.intent} has no slot {slot} in its declaration"
                    )
                allowed[phrase.intent].append(slot)
    kinds = {
        slot: book.declared_kinds.get(slot) or (NUMBER if all(map(is_number, values[slot])) else TEXT)
        for slot in sorted(values)
    }
    order = {slot: i for i, slot in enumerate(kinds)}
    return Labels(
        intents=book.intents,
        slots=kinds,
        allowed={
            name: sorted((s for s in slots if s in kinds), key=order.__getitem__)
            for name, slots in allowed.items()
        },
        unknown=recipe.unknown if recipe.unknown in book.intents else None,
        threshold=recipe.threshold,
    )


@dataclass(frozen=True)
class _Lesson:
    """What the teacher contributes."""

    probabilities: np.ndarray
    """The intents' probabilities for each phrase."""
    variations: list[tuple[str, np.ndarray]]
    """Further texts and their probabilities."""
    token_vectors: np.ndarray
    """A first embedding [vocab, hidden] of unit standard deviation."""


def _distill(
    phrases: list[Phrase],
    labels: Labels,
    tokenizer: Tokenizer,
    recipe: Recipe,
    rng: random.Random,
    progress: Progress,
) -> _Lesson:
    index = {name: i for i, name in enumerate(labels.intents)}
    chosen = phrases if len(phrases) <= _TEACHER_TEXTS else rng.sample(phrases, _TEACHER_TEXTS)
    teacher = Teacher(
        [phrase.text.lower() for phrase in chosen],
        [index[phrase.intent] for phrase in chosen],
        len(index),
        progress,
    )

    texts = teacher.variations(recipe.variations, rng, progress)
    return _Lesson(
        teacher.probabilities([phrase.text.lower() for phrase in phrases], progress),
        list(zip(texts, teacher.probabilities(texts, progress), strict=True)),
        teacher.token_vectors(token_texts(tokenizer), recipe.hidden_size, progress),
    )


def _examples(
    phrases: Sequence[Phrase], lesson: _Lesson | None, labels: Labels, tokenizer: Tokenizer, system: list[int]
) -> list[Example]:
    examples = []
    for i, phrase in enumerate(phrases):
        teacher = lesson.probabilities[i] if lesson else None
        example = make_example(phrase, labels, tokenizer, system, teacher)
        if example is not None:
            examples.append(example)
    if len(examples) < 0.9 * len(phrases):
        lost = len(phrases) - len(examples)
        raise BitnetError(
            f"{lost} of {len(phrases)} phrases have slot values that do not begin and end with words"
        )
    for text, probabilities in lesson.variations if lesson else []:
        example = make_example(Phrase(text, ""), labels, tokenizer, system, probabilities)
        assert example is not None
        examples.append(example)
    return examples


def token_texts(tokenizer: Tokenizer) -> list[str]:
    """Return each token as a person would read it: "kitchen", "set temperature"."""
    texts = []
    for token in range(tokenizer.get_vocab_size()):
        name = tokenizer.id_to_token(token) or ""
        match = re.fullmatch(r"<\|?(?:\w+:)?(.+?)\|?>", name)
        texts.append(match[1].replace("_", " ") if match else name.replace("Ġ", "") or " ")
    return texts


def _fit(
    model: BitNetLM, examples: list[Example], labels: Labels, recipe: Recipe, progress: Progress
) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / _WARM_UP)
            * (0.505 + 0.495 * math.cos(math.pi * min(1, step / recipe.steps)))
        ),
    )
    generator = np.random.default_rng(recipe.seed)
    model.train()
    step = 0
    while step < recipe.steps:
        for chosen in shuffled(examples, recipe.batch_size, generator):
            batch = collate(chosen, model.model.shape.vocab_size, generator, recipe.token_dropout)
            loss = _loss(model, batch, labels, recipe)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            progress("train", step, recipe.steps, f"loss {loss.item():.3f}" if step % 20 == 0 else "")
            if step == recipe.steps:
                break


def _loss(model: BitNetLM, batch: Batch, labels: Labels, recipe: Recipe) -> torch.Tensor:
    """Add up the losses: intent (labels, teacher), slots the grammar allows, a little language modelling."""
    hidden, table = model(batch.tokens)
    rows = torch.arange(len(batch.tokens))
    logits = (
        hidden[rows, batch.intent_columns]
        @ table[labels.first_intent : labels.first_intent + len(labels.intents)].T
    )
    known = batch.intents >= 0
    loss: torch.Tensor = hidden.new_zeros(())
    share = recipe.distillation if batch.teacher is not None else 0.0
    if known.any():
        loss = (1 - share) * F.cross_entropy(logits[known], batch.intents[known], reduction="sum") / len(rows)
    if batch.teacher is not None:
        loss = loss + share * F.kl_div(F.log_softmax(logits, 1), batch.teacher, reduction="batchmean")
    if len(batch.targets):
        scores = (hidden[batch.rows, batch.columns] @ table.T).masked_fill(~batch.allowed, -torch.inf)
        loss = loss + F.cross_entropy(scores, batch.targets, reduction="sum") / len(rows)
    if recipe.language_weight:
        loss = loss + recipe.language_weight * _language_loss(hidden, table, batch)
    return loss


def _language_loss(hidden: torch.Tensor, table: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the next-token loss over the whole vocabulary, at every fourth position on average."""
    inside = torch.arange(hidden.shape[1] - 1) < (batch.lengths - 1)[:, None]
    chosen = inside & (torch.rand(inside.shape) < 0.25)
    return F.cross_entropy(hidden[:, :-1][chosen] @ table.T, batch.tokens[:, 1:][chosen])


def hold_out(book: PhraseBook, sources: Sequence[Path], test: Path | None, seed: int) -> list[Phrase]:
    """Return phrases to test with: `test`, test.jsonl of a source folder, or one in ten out of the book.

    Raises BitnetError if they have intents that the book has not.
    """
    if test is None:
        test = next((f for f in (source / "test.jsonl" for source in sources) if f.is_file()), None)
    if test is not None:
        held_out = [book.trim(phrase) for phrase in read_phrases(test)]
        strange = sorted({phrase.intent for phrase in held_out} - set(book.intents))
        if strange:
            raise BitnetError(f"{test}: no phrase to train on has the intent {strange[0]!r}")
        return held_out
    rng = random.Random(seed)
    if not book.fixed:
        return draw(book, 1000, None, rng)
    # The first phrase of each intent stays, so that every intent is learned.
    first = {phrase.intent: i for i, phrase in reversed(list(enumerate(book.fixed)))}
    spare = [i for i, phrase in enumerate(book.fixed) if first[phrase.intent] != i]
    if not spare:
        raise BitnetError("every intent has one phrase only, so none can be held out: give more, or --test")
    chosen = set(rng.sample(spare, min(len(spare), max(1, len(book.fixed) // 10))))
    held_out = [phrase for i, phrase in enumerate(book.fixed) if i in chosen]
    book.fixed = [phrase for i, phrase in enumerate(book.fixed) if i not in chosen]
    return held_out


def float_twin(recipe: Recipe) -> Recipe:
    """Return the same recipe without quantization, to compare with."""
    return replace(recipe, quantized=False)
