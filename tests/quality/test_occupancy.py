"""The occupancy model: readings as one token each, against the same readings in the text of a twin."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from bitnet_cli.measure.accuracy import Accuracy, measure
from bitnet_cli.model.modelfile import read
from bitnet_cli.model.tokenizer import encode, from_section
from bitnet_cli.paths import DEVICE
from bitnet_cli.phrases.phrases import Phrase, read_phrases
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import public_data

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA = public_data.FOLDER / "occupancy"
CONVERT = ROOT / "host" / "phrases" / "occupancy" / "convert.py"
MODELS = {"features": DEVICE / "models" / "occupancy.bitnet", "text": HERE / "occupancy_text.bitnet"}
COLUMNS = ("Temperature", "Humidity", "Light", "CO2")
WANTED_SAVING = 0.6

pytestmark = [pytest.mark.slow, public_data.needs("occupancy")]


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phrases")
    subprocess.run([sys.executable, str(CONVERT), str(DATA), str(folder)], check=True)
    return folder


def raw(name: str) -> tuple[list[list[float]], list[str]]:
    with (DATA / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [[float(row[column]) for column in COLUMNS] for row in rows], [row["Occupancy"] for row in rows]


def linear_rival(name: str) -> float:
    """Accuracy of logistic regression in floats on the four values of a minute."""
    rival = make_pipeline(StandardScaler(), LogisticRegression()).fit(*raw("datatraining.txt"))
    return float(rival.score(*raw(name)))


def share_saved(few: float, many: float) -> float:
    return 1 - few / many


@pytest.mark.parametrize(("number", "name"), [(1, "datatest.txt"), (2, "datatest2.txt")])
def test_features_are_shorter_and_no_worse_than_text(phrases: Path, number: int, name: str) -> None:
    """In MicroPython; both models were trained with one recipe. Phrases and days are not trained on."""
    asked = {v: read_phrases(phrases / f"{v}-{number}.jsonl") for v in MODELS}
    results = {v: measure(MODELS[v], asked[v]) for v in MODELS}
    with_phrase = {v: in_scope(asked[v], asked["features"], True) for v in MODELS}
    without = {v: in_scope(asked[v], asked["features"], False) for v in MODELS}
    tokens = {v: prompt_tokens(MODELS[v], with_phrase[v]) for v in MODELS}
    alone = {v: prompt_tokens(MODELS[v], without[v]) for v in MODELS}
    for variant in MODELS:
        print(f"{name}, {variant}:\n{results[variant].as_text()}")
        print(
            f"prompt tokens with a question {tokens[variant]:.1f}, with readings alone {alone[variant]:.1f}"
        )
    saved = share_saved(tokens["features"], tokens["text"])
    saved_alone = share_saved(alone["features"], alone["text"])
    print(f"saved {saved:.1%}, with readings alone {saved_alone:.1%}; linear rival {linear_rival(name):.2%}")
    check(results["features"], results["text"])
    assert saved_alone >= WANTED_SAVING


def check(features: Accuracy, text: Accuracy) -> None:
    assert features.bytes < 200_000
    assert features.intent >= text.intent
    assert features.intent >= 0.95
    assert features.out_of_scope_recall is not None and features.out_of_scope_recall >= 0.95
    assert features.false_refusals is not None and features.false_refusals <= 0.01


def in_scope(asked: list[Phrase], with_features: list[Phrase], has_phrase: bool) -> list[Phrase]:
    """The questions about a moment whose variant with features has a phrase, or has none."""
    pairs = zip(asked, with_features, strict=True)
    return [one for one, other in pairs if one.intent != "unknown" and bool(other.text) == has_phrase]


def prompt_tokens(model: Path, asked: list[Phrase]) -> float:
    return measure(model, asked[:500]).prompt_tokens


def test_a_reading_is_one_token_instead_of_five(phrases: Path) -> None:
    """Of the readings alone, with the tokenizer of the twin, which knows the words of its texts."""
    features = read(MODELS["features"].read_bytes())
    tokenizer = from_section(read(MODELS["text"].read_bytes()).tokenizer)
    rows = [json.loads(line) for line in (phrases / "text-2.jsonl").read_text().splitlines()]
    texts = [" ".join(row["text"].split()[:8]) for row in rows if row["intent"] != "unknown"]
    mean = sum(len(encode(tokenizer, text).tokens) for text in texts) / len(texts)
    count = len(features.metadata["features"])
    print(f"readings: {count} tokens instead of {mean:.1f}, {share_saved(count, mean):.1%} fewer")
    assert share_saved(count, mean) >= WANTED_SAVING
