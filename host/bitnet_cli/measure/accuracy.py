"""Accuracy of a `.bitnet` file where it will run: in MicroPython, on the simulated board."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..boards.at import Answer
from ..emulation.simulator import infer_many
from ..files import read_file
from ..model.features import tokens_of
from ..model.modelfile import read
from ..phrases.phrases import Phrase

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Accuracy:
    """Shares from 0 to 1; the out-of-scope ones are None if the phrases have no intent `unknown`."""

    bytes: int
    phrases: int
    intent: float
    exact_match: float
    out_of_scope_recall: float | None
    false_refusals: float | None
    prompt_tokens: float
    """The mean number of prompt tokens over all phrases, the template included."""
    errors: list[tuple[Phrase, Answer]]

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the figures for JSON."""
        return {key: value for key, value in vars(self).items() if key != "errors"}

    def as_text(self) -> str:
        """Return the figures, a line each."""
        lines = [
            f"model                 {self.bytes:,} bytes",
            f"phrases               {self.phrases}, answered in MicroPython on the simulated board",
            f"intent accuracy       {self.intent:.2%}",
            f"intent and slots      {self.exact_match:.2%}",
            f"prompt tokens         {self.prompt_tokens:.1f} on average",
        ]
        if self.out_of_scope_recall is not None and self.false_refusals is not None:
            lines.append(f"out of scope refused  {self.out_of_scope_recall:.2%}")
            lines.append(f"in scope refused      {self.false_refusals:.2%}")
        return "\n".join(lines)


def measure(model: Path, phrases: Sequence[Phrase]) -> Accuracy:
    """Answer every phrase and count. Accuracy and exact match are over phrases that are in scope."""
    metadata = read(read_file(model)).metadata
    features = [tokens_of(metadata, phrase.features) for phrase in phrases]
    answers = infer_many(model, [phrase.text for phrase in phrases], features=features)
    pairs = list(zip(phrases, answers, strict=True))
    inside = [(p, a) for p, a in pairs if p.intent != UNKNOWN]
    outside = [(p, a) for p, a in pairs if p.intent == UNKNOWN]
    refused_inside = _share(a.intent == UNKNOWN for _, a in inside)
    return Accuracy(
        bytes=model.stat().st_size,
        phrases=len(pairs),
        intent=_share(a.intent == p.intent for p, a in inside),
        exact_match=_share(_exact(p, a) for p, a in inside),
        out_of_scope_recall=_share(a.intent == UNKNOWN for _, a in outside) if outside else None,
        false_refusals=refused_inside if outside else None,
        prompt_tokens=sum(a.prompt_tokens for _, a in pairs) / len(pairs),
        errors=[(p, a) for p, a in pairs if not _exact(p, a)],
    )


def _exact(phrase: Phrase, answer: Answer) -> bool:
    return answer.intent == phrase.intent and answer.slots == phrase.slots


def _share(hits: Iterable[bool]) -> float:
    counted = list(hits)
    return sum(counted) / len(counted) if counted else 0.0
