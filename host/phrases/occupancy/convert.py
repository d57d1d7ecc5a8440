"""Turns the Occupancy Detection data (UCI Machine Learning Repository, CC BY 4.0) into phrases to train on.

    python host/phrases/occupancy/convert.py build/data/occupancy build/occupancy-phrases

Of every minute's readings a question is asked, with the readings as features and, for comparison, as text:

    features/, text/                       folders for `bitnet-cli train`
    features-1.jsonl, text-1.jsonl         datatest.txt, with questions that are not trained on
    features-2.jsonl, text-2.jsonl         datatest2.txt

With --hold-out the end of the training file is not trained on but goes to features-held-out.jsonl and
text-held-out.jsonl, to choose a recipe by.
"""

import argparse
import csv
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bitnet_cli.errors import BitnetError
from bitnet_cli.files import write_atomically
from bitnet_cli.model.features import FILE_NAME, Feature, Meters, read_definitions
from bitnet_cli.phrases.phrases import read_phrases
from bitnet_cli.phrases.templates import PhraseBook, load
from bitnet_cli.training.dataset import vary

HERE = Path(__file__).parent
HOME = HERE.parent / "home"
CHANNELS = {"temperature": 1, "humidity": 1, "light": 0, "co2": 0}
"""The columns that are used, and the decimals they are written with as text."""
UNKNOWN = "unknown"
SCALE = 1000
TRAINED_SHARE = 0.7
QUESTIONS_PER_MOMENT = 3
OUT_OF_SCOPE_SHARE = 0.5
WITHOUT_PHRASE_SHARE = 0.1
SEED = 0


@dataclass(frozen=True)
class Moment:
    """One minute: what was measured, as features and as text, and what is to be answered."""

    bins: dict[str, int]
    text: str
    intent: str


@dataclass(frozen=True)
class Question:
    """A phrase, asked at a moment or of a unit that has no readings yet."""

    phrase: str
    moment: Moment | None
    intent: str


def read_moments(path: Path, features: Sequence[Feature]) -> list[Moment]:
    """All minutes of a file, with features over the minutes before. Raises BitnetError."""
    meters, moments = Meters(features), []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                readings = {
                    key.lower(): float(value) for key, value in row.items() if key.lower() in CHANNELS
                }
                date = datetime.fromisoformat(row["Date"]).replace(tzinfo=UTC)
                for channel, value in readings.items():
                    meters.push(channel, round(SCALE * value), round(1000 * date.timestamp()))
                text = " ".join(f"{name} {readings[name]:.{digits}f}" for name, digits in CHANNELS.items())
                moments.append(Moment(meters.bins(), text, ("empty", "occupied")[int(row["Occupancy"])]))
    except OSError as error:
        raise BitnetError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        raise BitnetError(f"{path}: not a file of the Occupancy Detection data: {error}") from error
    return moments


def training_questions(moments: Sequence[Moment], rng: random.Random) -> Iterator[Question]:
    """Some about each moment, and some that are to be refused: of other things, or without readings."""
    questions, others = load([HERE / "questions.yaml"]), load([HOME])
    names = [name for name in others.intents if name != "read_motion"]  # the same question, of a home
    for moment in moments:
        for _ in range(QUESTIONS_PER_MOMENT):
            phrase = "" if rng.random() < WITHOUT_PHRASE_SHARE else _draw(questions, ["question"], rng)
            yield Question(phrase, moment, moment.intent)
        if rng.random() < OUT_OF_SCOPE_SHARE:
            yield Question(_draw(others, names, rng), rng.choice((moment, moment, None)), UNKNOWN)
            yield Question(_draw(questions, ["question"], rng), None, UNKNOWN)


def test_questions(moments: Sequence[Moment], rng: random.Random) -> Iterator[Question]:
    """The same with phrases that are not trained on."""
    phrases = (HERE / "held_out.txt").read_text(encoding="utf-8").splitlines()
    for moment in moments:
        phrase = "" if rng.random() < WITHOUT_PHRASE_SHARE else rng.choice(phrases)
        yield Question(phrase, moment, moment.intent)
    for other in read_phrases(HOME / "test.jsonl"):
        if other.intent != "read_motion":
            yield Question(other.text, rng.choice(moments), UNKNOWN)
    for phrase in phrases:
        yield Question(phrase, None, UNKNOWN)


def _draw(book: PhraseBook, intents: Sequence[str], rng: random.Random) -> str:
    return vary(book.sample(rng, rng.choice(intents)), set(), rng).text


def with_features(question: Question) -> dict[str, object]:
    """A row of a phrase file."""
    bins = question.moment.bins if question.moment else {}
    return {"text": question.phrase, "intent": question.intent, "features": bins}


def with_text(question: Question) -> dict[str, object]:
    """The same with the readings in the text."""
    readings = question.moment.text if question.moment else ""
    return {"text": f"{readings} {question.phrase}".strip(), "intent": question.intent}


def write(folder: Path, name: str, questions: Iterable[Question]) -> None:
    """Both variants of a file, `name` with `{}` for the variant."""
    asked = list(questions)
    for variant, row in (("features", with_features), ("text", with_text)):
        lines = "".join(json.dumps(row(question)) + "\n" for question in asked)
        write_atomically(folder / name.format(variant), lines.encode())


def convert(data: Path, folder: Path, hold_out: bool) -> None:
    """Write all files. Raises BitnetError."""
    features = read_definitions(HERE / FILE_NAME)
    train = read_moments(data / "datatraining.txt", features)
    if hold_out:
        trained = int(TRAINED_SHARE * len(train))
        write(folder, "{}-held-out.jsonl", training_questions(train[trained:], random.Random(SEED + 1)))
        train = train[:trained]
    else:
        for number, name in enumerate(("datatest.txt", "datatest2.txt"), 1):
            moments = read_moments(data / name, features)
            write(folder, f"{{}}-{number}.jsonl", test_questions(moments, random.Random(SEED)))
    write(folder, "{}/train.jsonl", training_questions(train, random.Random(SEED)))
    write_atomically(folder / "features" / FILE_NAME, (HERE / FILE_NAME).read_bytes())


def main() -> None:
    """Parse the command line, convert."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", type=Path, help="folder with datatraining.txt, datatest.txt and datatest2.txt"
    )
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--hold-out", action="store_true", help="keep the end of the training file apart")
    args = parser.parse_args()
    try:
        convert(args.data, args.output, args.hold_out)
    except BitnetError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
