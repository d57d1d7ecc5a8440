"""Features in definitions, training, export and answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.measure.accuracy import measure
from bitnet_cli.model.features import FILE_NAME, Feature, read_definitions, tokens_of
from bitnet_cli.model.modelfile import read
from bitnet_cli.model.tokenizer import encode, read_section
from bitnet_cli.phrases.phrases import Phrase
from bitnet_cli.phrases.templates import load
from bitnet_cli.progress import silent
from bitnet_cli.training import checkpoint as checkpoints
from bitnet_cli.training.checkpoint import Checkpoint
from bitnet_cli.training.export import export, measure_agreement
from bitnet_cli.training.recipe import Recipe
from bitnet_cli.training.train import prepare, train

TOML = """
[light]
channel = "light"
kind = "mean"
window = 60
edges = [10.5, 300]

[warm_for]
channel = "temperature"
kind = "age"
above = 25.5
scale = 10
edges = [60]
"""
FEATURES = (
    Feature("light", "light", "mean", (10_500, 300_000), window=60),
    Feature("warm_for", "temperature", "age", (60,), scale=10, above=255),
)
TEXTS = ("is it dark", "is it bright in here", "light or dark", "")
PHRASES = [
    Phrase(text, ("dark", "dim", "bright")[light], {}, {"warm_for": warm, "light": light})
    for text in TEXTS
    for light in range(3)
    for warm in range(2)
] + [Phrase("tell me a joke", "unknown", {}, {"light": light}) for light in range(3)]
RECIPE = Recipe(
    name="light",
    hidden_size=32,
    intermediate_size=32,
    num_layers=1,
    vocab_budget=300,
    steps=150,
    batch_size=32,
    learning_rate=1e-2,
    distillation=0.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phrases")
    (folder / FILE_NAME).write_text(TOML)
    rows = [{"text": p.text, "intent": p.intent, "features": p.features} for p in PHRASES]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Checkpoint:
    return train(load([folder]), RECIPE, silent)


def test_definitions_are_in_units(folder: Path) -> None:
    assert read_definitions(folder / FILE_NAME) == FEATURES


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("light = 1", "feature light must be a table"),
        ("[light]\ncolour = 3", "must be a table of above, below, channel"),
        ('[Light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = [1]', "a name is small letters"),
        ('[light]\nchannel = "a"\nkind = "mode"\nwindow = 5\nedges = [1]', "kind is 'mode'"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = [2, 1]', "must be at least one number"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = []', "must be at least one number"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = ["1"]', "are numbers"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5', "are numbers"),
        (
            '[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = [1e306]',
            "feature light: .* none beyond",
        ),
        (f'[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = [1{"0" * 400}]', "feature light: "),
        (f'[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nscale = 1{"0" * 400}', "feature light: "),
        (f'[light]\nchannel = "a"\nkind = "age"\nabove = -1{"0" * 400}\nedges = [1]', "feature light: "),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = [nan]', "feature light: "),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nedges = [inf]', "feature light: "),
        (f"[light]\nwindow = {'9' * 5000}", "not TOML"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 0.5\nedges = [1]', "whole ones"),
        ('[light]\nchannel = "a"\nkind = "mean"\nedges = [1]', "has a `window`"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nabove = 1\nedges = [1]', "neither `above`"),
        ('[light]\nchannel = "a"\nkind = "age"\nedges = [1]', "either `above` or `below`"),
        ('[light]\nkind = "mean"\nwindow = 5\nedges = [1]', "`channel` must name"),
        ('[light]\nchannel = "a"\nkind = "mean"\nwindow = 5\nscale = 0\nedges = [1, 2]', "scale is 0|ascend"),
        ("[light", "not TOML"),
    ],
)
def test_bad_definitions_are_refused(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(table)
    with pytest.raises(BitnetError, match=message) as refusal:
        read_definitions(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_a_checkpoint_keeps_its_features(trained: Checkpoint, tmp_path: Path) -> None:
    checkpoints.save(trained, tmp_path)
    loaded = checkpoints.load(tmp_path)
    assert loaded.features == trained.features == FEATURES
    assert export(loaded) == export(trained)


def test_the_model_file_defines_them(trained: Checkpoint) -> None:
    """By the fields that boards read, and with tokens that have the texts that boards describe them by."""
    model = read(export(trained))
    light, warm_for = model.metadata["features"]
    assert light["edges"] == [10_500, 300_000] and light["window"] == 60 and light["channel"] == "light"
    assert (warm_for["kind"], warm_for["above"], "below" in warm_for) == ("age", 255, False)
    texts = read_section(model.tokenizer).texts
    assert texts[light["token"] :] == [b"light=0", b"light=1", b"light=2", b"warm_for=0", b"warm_for=1"]
    assert tokens_of(model.metadata, {"warm_for": 1, "light": 2}) == [light["token"] + 2, len(texts) - 1]


def test_no_text_is_a_feature(trained: Checkpoint) -> None:
    first = trained.tokenizer.token_to_id("<feature:light=0>")
    assert first is not None
    for text in ("<feature:light=0>", "light=0", "<feature:warm_for=1> light=2"):
        assert max(encode(trained.tokenizer, text).ids) < first


def test_boards_answer_by_features_alone(trained: Checkpoint, tmp_path: Path) -> None:
    """The phrases say nothing of the answer, and without features there would be none."""
    model = export(trained)
    path = tmp_path / "light.bitnet"
    path.write_bytes(model)
    accuracy = measure(path, PHRASES)
    assert accuracy.intent == 1
    assert accuracy.prompt_tokens < 12
    agreement = measure_agreement(trained, model, PHRASES)
    assert agreement.share == 1 and agreement.integers.accuracy == 1


def test_features_that_are_not_defined_are_refused(trained: Checkpoint, folder: Path, tmp_path: Path) -> None:
    book = load([folder])
    book.fixed = [*book.fixed, Phrase("is it dark", "dark", {}, {"light": 3})]
    with pytest.raises(BitnetError, match=r"'is it dark' has the feature light=3, which features\.toml"):
        prepare(book, RECIPE, silent)
    path = tmp_path / "light.bitnet"
    path.write_bytes(export(trained))
    with pytest.raises(BitnetError, match="the model has no feature light=3"):
        measure(path, [book.fixed[-1]])


def test_features_are_defined_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(TOML)
    with pytest.raises(BitnetError, match="the features are defined already"):
        load([folder, tmp_path])


def test_a_teacher_of_texts_is_refused(folder: Path) -> None:
    with pytest.raises(BitnetError, match="--no-teacher"):
        prepare(load([folder]), replace(RECIPE, distillation=0.5), silent)
