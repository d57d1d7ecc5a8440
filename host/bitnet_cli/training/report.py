"""How good a model is on held-out phrases: figures, a per-intent table, a picture of the confusions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..errors import BitnetError
from ..model.tokenizer import encode
from ..phrases.phrases import Phrase
from .checkpoint import Checkpoint
from .dataset import Example, collate, make_example

_BATCH = 128


@dataclass(frozen=True)
class Prediction:
    """What a model answers to one phrase, step by step along the right reply."""

    intent: int
    """Index of the most probable intent."""
    confidence: float
    """The probability of that intent among all, 0 to 1."""
    steps: list[int]
    """Most probable allowed token at each further step of the right reply."""


class Scorer(Protocol):
    """Any implementation of a model: predictions for a list of examples."""

    def __call__(self, examples: Sequence[Example]) -> list[Prediction]: ...


@dataclass(frozen=True)
class IntentRow:
    """One intent's line in the report."""

    intent: str
    phrases: int
    recall: float
    precision: float


@dataclass(frozen=True)
class Evaluation:
    """Figures on a held-out set; shares are 0 to 1, None where there is nothing to count."""

    phrases: int
    accuracy: float
    exact_match: float
    out_of_scope_recall: float | None
    false_refusals: float | None
    rows: list[IntentRow]
    confusion: npt.NDArray[np.int64]
    """[intents, intents]: rows are right, columns answered."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "phrases": self.phrases,
            "accuracy": self.accuracy,
            "exact_match": self.exact_match,
            "out_of_scope_recall": self.out_of_scope_recall,
            "false_refusals": self.false_refusals,
            "intents": [vars(row) for row in self.rows],
        }

    def as_text(self) -> str:
        """Return the figures as a table; intents without errors are left out."""
        lines = [
            f"held-out phrases      {self.phrases}",
            f"intent accuracy       {self.accuracy:.1%}",
            f"intent and slots      {self.exact_match:.1%}",
        ]
        if self.out_of_scope_recall is not None:
            lines.append(f"out of scope refused  {self.out_of_scope_recall:.1%}")
            lines.append(f"in scope refused      {self.false_refusals:.1%}")
        worst = [row for row in self.rows if row.phrases and (row.recall < 1 or row.precision < 1)]
        if worst:
            lines += ["", f"{'intent':28} {'phrases':>7} {'recall':>7} {'precision':>9}"]
            lines += [f"{r.intent:28} {r.phrases:7} {r.recall:7.1%} {r.precision:9.1%}" for r in worst]
            lines.append(f"({len(self.rows) - len(worst)} intents without errors are not listed)")
        return "\n".join(lines)


def evaluate(checkpoint: Checkpoint, phrases: Sequence[Phrase], scorer: Scorer | None = None) -> Evaluation:
    """Score held-out phrases (in the model's own arithmetic in PyTorch, unless another scorer is given).

    A greedy reply is right if each of its steps is right after the right beginning, so the right reply is fed
    and every step compared. (The right slots in another order than the phrase's count as wrong.)
    """
    labels = checkpoint.labels
    unknown_intents = {phrase.intent for phrase in phrases} - set(labels.intents)
    if unknown_intents:
        raise BitnetError(
            f"held-out phrases have the intent {sorted(unknown_intents)[0]!r}, which the model has not"
        )
    examples, readable = held_out_examples(checkpoint, phrases)
    predictions = iter((scorer or TorchScorer(checkpoint))(examples))
    right = np.zeros(len(phrases), bool)
    answered = np.zeros(len(phrases), np.int64)
    for i, phrase in enumerate(phrases):
        prediction = next(predictions)
        refused = labels.unknown is not None and 1000 * prediction.confidence < labels.threshold
        answered[i] = (
            labels.intents.index(labels.unknown) if refused and labels.unknown else prediction.intent
        )
        steps_right = phrase.intent == labels.unknown or prediction.steps == examples[i].targets
        right[i] = readable[i] and labels.intents[answered[i]] == phrase.intent and steps_right
    return _summarize(labels.intents, labels.unknown, phrases, answered, right)


def held_out_examples(checkpoint: Checkpoint, phrases: Sequence[Phrase]) -> tuple[list[Example], list[bool]]:
    """Return examples of all phrases, and which of them have slot values that the grammar can express."""
    system = encode(checkpoint.tokenizer, checkpoint.system).ids
    examples, readable = [], []
    for phrase in phrases:
        example = make_example(phrase, checkpoint.labels, checkpoint.tokenizer, system)
        readable.append(example is not None)
        examples.append(
            example
            or make_example(replace(phrase, spans={}), checkpoint.labels, checkpoint.tokenizer, system)
        )
    return [example for example in examples if example is not None], readable


class TorchScorer:
    """The checkpoint in PyTorch, with quantization."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def __call__(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predictions in the examples' order."""
        return [
            p
            for start in range(0, len(examples), _BATCH)
            for p in self._batch(examples[start : start + _BATCH])
        ]

    @torch.no_grad()
    def _batch(self, examples: Sequence[Example]) -> list[Prediction]:
        labels, model = self._checkpoint.labels, self._checkpoint.model
        batch = collate(examples, model.model.shape.vocab_size, None, 0.0)
        hidden, table = model(batch.tokens)
        intents = table[labels.first_intent : labels.first_intent + len(labels.intents)]
        probabilities = (hidden[torch.arange(len(examples)), batch.intent_columns] @ intents.T).softmax(1)
        confidence, best = probabilities.max(1)
        # Steps with one choice are not in the batch: they are right whatever the model thinks.
        steps = [list(example.targets) for example in examples]
        if len(batch.targets):
            scores = (hidden[batch.rows, batch.columns] @ table.T).masked_fill(~batch.allowed, -torch.inf)
            for row, column, token in zip(
                batch.rows.tolist(), batch.columns.tolist(), scores.argmax(1).tolist(), strict=True
            ):
                steps[row][column - examples[row].reply_start - 1] = token
        return [Prediction(int(best[i]), float(confidence[i]), steps[i]) for i in range(len(examples))]


def draw_confusions(evaluation: Evaluation, intents: Sequence[str], path: Path) -> None:
    """Write the confusion matrix as a PNG; right answers are on the diagonal."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = max(6.0, 0.17 * len(intents) + 2)
    figure, axes = pyplot.subplots(figsize=(size, size))
    totals = np.maximum(evaluation.confusion.sum(1, keepdims=True), 1)
    axes.imshow(evaluation.confusion / totals, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(intents)), intents, rotation=90, fontsize=6)
    axes.set_yticks(range(len(intents)), intents, fontsize=6)
    axes.set_xlabel("answered")
    axes.set_ylabel("right")
    for row, column in zip(*np.nonzero(evaluation.confusion), strict=True):
        if row != column:
            axes.text(
                column,
                row,
                str(evaluation.confusion[row, column]),
                ha="center",
                va="center",
                fontsize=5,
                color="red",
            )
    axes.set_title(
        f"{evaluation.phrases} held-out phrases, {evaluation.accuracy:.1%} right "
        "(share of each row; errors counted)"
    )
    figure.savefig(path, dpi=130, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)


def _summarize(
    intents: Sequence[str],
    unknown: str | None,
    phrases: Sequence[Phrase],
    answered: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
) -> Evaluation:
    truth = np.array([intents.index(phrase.intent) for phrase in phrases])
    confusion = np.zeros((len(intents), len(intents)), np.int64)
    np.add.at(confusion, (truth, answered), 1)
    hits, counts, answers = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    outside = truth == (intents.index(unknown) if unknown else -1)
    refused = answered == (intents.index(unknown) if unknown else -1)
    inside = ~outside if (~outside).any() else np.ones(len(phrases), bool)
    return Evaluation(
        phrases=len(phrases),
        accuracy=float((truth == answered)[inside].mean()),
        exact_match=float(right[inside].mean()),
        out_of_scope_recall=float(refused[outside].mean()) if outside.any() else None,
        false_refusals=float(refused[inside].mean()) if outside.any() else None,
        rows=[
            IntentRow(
                name,
                int(counts[i]),
                float(hits[i] / counts[i]) if counts[i] else 1.0,
                float(hits[i] / answers[i]) if answers[i] else 1.0,
            )
            for i, name in enumerate(intents)
        ],
        confusion=confusion,
    )
