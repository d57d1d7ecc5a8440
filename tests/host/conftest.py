"""One small model, really trained, for all tests of what comes after training."""

import random
from pathlib import Path

import pytest
from bitnet_cli.phrases.phrases import Phrase
from bitnet_cli.phrases.templates import PhraseBook, load
from bitnet_cli.progress import silent
from bitnet_cli.training import checkpoint as checkpoints
from bitnet_cli.training.checkpoint import Checkpoint
from bitnet_cli.training.dataset import draw
from bitnet_cli.training.recipe import Recipe
from bitnet_cli.training.train import train

HOME = Path(__file__).parents[2] / "host" / "phrases" / "home"
RECIPE = Recipe(
    name="tiny",
    system="home",
    hidden_size=32,
    intermediate_size=64,
    num_layers=1,
    vocab_budget=600,
    steps=300,
    batch_size=32,
    learning_rate=1e-2,
    drawn_phrases=3000,
    distillation=0.0,
)


@pytest.fixture(scope="session")
def book() -> PhraseBook:
    """The home's climate and lights: fourteen intents, numbers and names as slots, `unknown`."""
    return load([HOME / f"{name}.yaml" for name in ("_common", "labels", "climate", "lights", "unknown")])


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return RECIPE


@pytest.fixture(scope="session")
def tiny(book: PhraseBook, recipe: Recipe) -> Checkpoint:
    return train(book, recipe, silent)


@pytest.fixture(scope="session")
def held_out(book: PhraseBook) -> list[Phrase]:
    """Phrases drawn with another seed than the training's."""
    return draw(book, 300, "unknown", random.Random(99))


@pytest.fixture(scope="session")
def tiny_folder(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint's folder; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    checkpoints.save(tiny, folder)
    return folder
