"""What the models answer in MicroPython on the simulated board, against the marks they must reach.

The HWU64 and Home Assistant models lie beside this file; README.md here names the commands that made them.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from bitnet_cli.emulation.simulator import infer_many
from bitnet_cli.measure.accuracy import measure
from bitnet_cli.model.modelfile import read
from bitnet_cli.paths import STOCK_MODEL
from bitnet_cli.phrases.phrases import Phrase, read_phrases
from bitnet_cli.phrases.templates import load
from bitnet_cli.training.dataset import draw
from support import public_data

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
HOME = HERE.parents[1] / "host" / "phrases" / "home"
SIZE_LIMIT = 250 * 1024
HWU64_MODELS = sorted(HERE.glob("hwu64-*.bitnet"))


def unlike_templates(phrases: list[Phrase]) -> list[Phrase]:
    """Those that are not, by coincidence, among 20,000 phrases drawn from the training templates."""

    def plain(text: str) -> str:
        return text.lower().rstrip("?.!")

    drawn = {plain(p.text) for p in draw(load([HOME]), 20_000, "unknown", random.Random(0))}
    return [phrase for phrase in phrases if plain(phrase.text) not in drawn]


@pytest.mark.parametrize("chosen", [list, unlike_templates], ids=["all", "unlike-templates"])
def test_stock_model_reaches_its_marks(chosen: Callable[[list[Phrase]], list[Phrase]]) -> None:
    test_set = chosen(read_phrases(HOME / "test.jsonl"))
    result = measure(STOCK_MODEL, test_set)
    print(result.as_text())
    assert result.bytes <= SIZE_LIMIT
    assert len({phrase.intent for phrase in test_set}) > 40
    assert sum(phrase.intent != "unknown" for phrase in test_set) >= 400
    assert result.intent >= 0.97
    assert result.exact_match >= 0.90
    assert result.out_of_scope_recall is not None and result.out_of_scope_recall >= 0.80
    assert result.false_refusals is not None and result.false_refusals <= 0.03


def test_stock_model_knows_the_phrase_of_the_article() -> None:
    assert infer_many(STOCK_MODEL, ["What's the temp?"])[0].intent == "read_temperature"


@public_data.needs("hwu64")
def test_hwu64_mean_of_three_seeds() -> None:
    test_set = read_phrases(public_data.FOLDER / "hwu64" / "test.jsonl")
    assert len(HWU64_MODELS) == 3
    results = [measure(path, test_set) for path in HWU64_MODELS]
    mean = sum(result.intent for result in results) / len(results)
    rivals = json.loads((HERE / "rivals.json").read_text())
    print(f"ternary: {[f'{r.intent:.2%}' for r in results]}, mean {mean:.2%}; rivals: {rivals}")
    assert all(result.bytes <= SIZE_LIMIT and result.phrases == 1076 for result in results)
    assert all(read(path.read_bytes()).config.weight_type == 2 for path in HWU64_MODELS)
    assert mean >= 0.88


@public_data.needs("home_assistant")
def test_home_assistant_sentences() -> None:
    test_set = read_phrases(public_data.FOLDER / "home_assistant" / "test.jsonl")
    result = measure(HERE / "home_assistant.bitnet", test_set)
    print(result.as_text())
    assert result.bytes <= SIZE_LIMIT
    assert result.phrases == 1022
    assert result.intent >= 0.98
    assert result.exact_match >= 0.85
