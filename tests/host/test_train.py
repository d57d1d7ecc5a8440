"""From phrases to answers: training, checkpoint, export; one answer of floats, integers and MicroPython."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from bitnet_cli.emulation.simulator import infer_many
from bitnet_cli.errors import BitnetError
from bitnet_cli.model import modelfile
from bitnet_cli.model.oracle import Oracle
from bitnet_cli.model.packing import BINARY, TERNARY
from bitnet_cli.model.tokenizer import encode
from bitnet_cli.phrases.phrases import Phrase
from bitnet_cli.phrases.templates import PhraseBook
from bitnet_cli.progress import silent
from bitnet_cli.training import checkpoint as checkpoints
from bitnet_cli.training.checkpoint import Checkpoint
from bitnet_cli.training.export import OracleScorer, export, measure_agreement, requantize
from bitnet_cli.training.recipe import Recipe
from bitnet_cli.training.report import evaluate, held_out_examples
from bitnet_cli.training.train import float_twin, hold_out, train

pytestmark = pytest.mark.slow

Float64 = npt.NDArray[np.float64]


def float_logits(checkpoint: Checkpoint, tokens: list[int]) -> Float64:
    """[len(tokens), vocab]"""
    with torch.no_grad():
        hidden, table = checkpoint.model(torch.tensor([tokens]))
        return np.asarray((hidden @ table.T)[0], np.float64)


def weights_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return dict(checkpoint.model.state_dict())


def test_learns(tiny: Checkpoint, held_out: list[Phrase]) -> None:
    evaluation = evaluate(tiny, held_out)
    print(evaluation.as_text())
    assert len(tiny.labels.intents) >= 12
    assert evaluation.accuracy > 0.6
    assert evaluation.exact_match > 0.3
    assert evaluation.out_of_scope_recall is not None and evaluation.out_of_scope_recall > 0.5


def test_the_same_seed_gives_the_same_weights(book: PhraseBook, recipe: Recipe) -> None:
    short = replace(recipe, steps=20, drawn_phrases=400)
    first, second = (weights_of(train(book, short, silent)) for _ in range(2))
    other = weights_of(train(book, replace(short, seed=1), silent))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.norm.weight"], other["model.norm.weight"])


def test_progress_is_told(book: PhraseBook, recipe: Recipe) -> None:
    told: list[tuple[str, int, int]] = []
    short = replace(recipe, steps=20, drawn_phrases=400)
    train(book, short, lambda stage, done, total, _: told.append((stage, done, total)))
    assert [entry for entry in told if entry[0] == "train"] == [("train", i + 1, 20) for i in range(20)]


def test_the_float_twin_learns(book: PhraseBook, recipe: Recipe) -> None:
    losses: list[str] = []
    short = float_twin(replace(recipe, steps=60, drawn_phrases=400))
    train(book, short, lambda _, done, __, note: losses.append(note) if done in (20, 60) else None)
    first, last = (float(note.removeprefix("loss ")) for note in losses)
    assert last < 0.8 * first


def test_a_checkpoint_survives_its_folder(
    tiny: Checkpoint, tiny_folder: Path, held_out: list[Phrase]
) -> None:
    loaded = checkpoints.load(tiny_folder)
    assert loaded.shape == tiny.shape
    assert (loaded.labels, loaded.name, loaded.system) == (tiny.labels, "tiny", "home")
    for phrase in held_out[:20]:
        tokens = encode(tiny.tokenizer, phrase.text).ids
        assert encode(loaded.tokenizer, phrase.text).ids == tokens
        assert np.array_equal(float_logits(loaded, tokens), float_logits(tiny, tokens))
    assert export(loaded) == export(tiny)


def test_the_export_is_sound(tiny: Checkpoint) -> None:
    model = modelfile.read(export(tiny))
    shape = tiny.shape
    assert model.config.vocab_size == shape.vocab_size == tiny.tokenizer.get_vocab_size()
    assert (model.config.hidden_size, model.config.head_dim, model.config.window) == (32, 8, 32)
    assert model.metadata == {"name": "tiny", "system": "home"}


def test_the_export_stores_the_beginning_of_the_template(tiny: Checkpoint) -> None:
    beginning = [tiny.labels.system, *encode(tiny.tokenizer, "home").ids, tiny.labels.user]
    begun, fed = Oracle(export(tiny)), Oracle(export(tiny))
    assert begun.begin() == len(beginning)
    fed.feed(beginning)
    for token in encode(tiny.tokenizer, "lights on in the kitchen").ids:
        begun.feed([token])
        fed.feed([token])
        assert np.array_equal(begun.logits(), fed.logits())


@pytest.mark.parametrize("weight_type", [TERNARY, BINARY], ids=["ternary", "binary"])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_integers_are_the_floats_that_were_trained(
    tiny: Checkpoint, held_out: list[Phrase], weight_type: int, bits: int
) -> None:
    """Not only near: they quantize at the same places, so that few choices ever differ."""
    checkpoint = requantize(tiny, weight_type, bits)
    model = export(checkpoint)
    oracle = Oracle(model)
    examples, _ = held_out_examples(checkpoint, held_out[:60])
    errors, correlations = [], []
    for example in examples:
        expected = float_logits(checkpoint, example.tokens)
        logits = oracle.batch_logits([example.tokens], [range(len(example.tokens))])[0]
        real = logits.values * logits.scale.m[:, None] * 2.0 ** logits.scale.e[:, None]
        errors.append(np.sqrt(((real - expected) ** 2).mean() / (expected**2).mean()))
        correlations.append(np.corrcoef(real.ravel(), expected.ravel())[0, 1])
    agreement = measure_agreement(checkpoint, model, held_out)
    print(f"error {np.mean(errors):.4f}, {max(errors):.4f}; agreement {agreement.share:.2%}")
    # At 2 bits a code that rounds the other way is a large step, but a rare one.
    assert max(errors) < {8: 0.03, 4: 0.2, 2: 0.5}[bits]
    assert np.mean(errors) < {8: 0.012, 4: 0.05, 2: 0.15}[bits]
    assert min(correlations) > {8: 0.999, 4: 0.98, 2: 0.85}[bits]
    assert agreement.share >= {8: 0.995, 4: 0.985, 2: 0.97}[bits]


def test_micropython_answers_what_the_evaluation_counts(
    tiny: Checkpoint, held_out: list[Phrase], tmp_path: Path
) -> None:
    """Greedy replies on the board against the right replies fed step by step to the oracle."""
    data = export(tiny)
    path = tmp_path / "tiny.bitnet"
    path.write_bytes(data)
    answers = infer_many(path, [phrase.text for phrase in held_out])
    examples, _ = held_out_examples(tiny, held_out)
    predictions = OracleScorer(data, tiny.labels)(examples)
    rights = []
    for phrase, answer, prediction in zip(held_out, answers, predictions, strict=True):
        counted = evaluate(tiny, [phrase], lambda _, one=prediction: [one])
        answered = answer.intent == phrase.intent and (
            phrase.intent == "unknown" or answer.slots == phrase.slots
        )
        assert answer.confidence == round(1000 * prediction.confidence), phrase
        assert (answer.intent == phrase.intent) == (counted.accuracy == 1), phrase
        if answered != (counted.exact_match == 1):
            # The board may give the right slots in another order; the evaluation knows only the phrase's.
            assert answered, (phrase, answer)
            assert list(answer.slots) != sorted(phrase.spans, key=phrase.spans.__getitem__), phrase
        rights.append(answered)
    assert 0.3 < sum(rights) / len(rights) < 1


def test_requantize_leaves_the_checkpoint_alone(tiny: Checkpoint) -> None:
    before = export(tiny)
    assert modelfile.read(export(requantize(tiny, BINARY, 4))).config.weight_type == BINARY
    assert modelfile.read(export(requantize(tiny, None, 2))).config.activation_bits == 2
    assert export(requantize(tiny, None, None)) == export(tiny) == before


def test_hold_out_prefers_what_is_given(book: PhraseBook, tmp_path: Path) -> None:
    row = '{"text": "is it warm", "intent": "read_temperature"}\n'
    (tmp_path / "test.jsonl").write_text(row)
    (tmp_path / "other.jsonl").write_text(row * 2)
    assert len(hold_out(book, [tmp_path], None, 0)) == 1
    assert len(hold_out(book, [tmp_path], tmp_path / "other.jsonl", 0)) == 2
    assert len(hold_out(book, [], None, 0)) == 1000
    fixed = PhraseBook()
    fixed.fixed = [Phrase(f"phrase {i}", "a") for i in range(30)]
    taken = hold_out(fixed, [], None, 0)
    assert (
        len(taken) == 3 and len(fixed.fixed) == 27 and not set(map(str, taken)) & set(map(str, fixed.fixed))
    )


def test_what_cannot_be_trained_is_refused(book: PhraseBook) -> None:
    wrong = PhraseBook()
    wrong.declared = {"a": []}
    wrong.fixed = [Phrase("the kitchen", "a", {"room": (4, 11)})]
    short = Recipe(steps=1, distillation=0)
    with pytest.raises(BitnetError, match="intent a has no slot room in its declaration"):
        train(wrong, short, silent)
    wrong.declared = {}
    wrong.fixed = [Phrase("the kitchen", "a", {"room": (4, 9)})]
    with pytest.raises(BitnetError, match="1 of 1 phrases have slot values that do not begin and end"):
        train(wrong, short, silent)
    with pytest.raises(BitnetError, match="vocabulary"):
        train(book, replace(short, vocab_budget=100, drawn_phrases=10), silent)


def test_held_out_intents_must_be_known(tiny: Checkpoint) -> None:
    with pytest.raises(BitnetError, match="'sing', which the model has not"):
        evaluate(tiny, [Phrase("la la la", "sing")])
