"""Trains ternary models on HWU64 with three seeds, measures them in MicroPython, prints rivals beside them.

    python tests/quality/hwu64.py build/data/hwu64 --seeds 0 1 2

The models are written to tests/quality/, where test_quality.py measures them again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from bitnet_cli.files import write_atomically
from bitnet_cli.measure.accuracy import measure
from bitnet_cli.phrases.phrases import Phrase, read_phrases
from bitnet_cli.phrases.templates import load
from bitnet_cli.progress import ProgressBars
from bitnet_cli.training.checkpoint import save
from bitnet_cli.training.export import export
from bitnet_cli.training.recipe import Recipe
from bitnet_cli.training.report import evaluate
from bitnet_cli.training.train import fit, float_twin, prepare
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parent
RECIPE = Recipe(name="hwu64", vocab_budget=2048, language_weight=0.0, threshold=0)


def linear_rival(train_set: list[Phrase], test_set: list[Phrase], size: int) -> tuple[int, float]:
    """(bytes, accuracy) of logistic regression in int8 on TF-IDF of words and word pairs.

    As many as fit in `size` bytes: a feature costs one byte per intent and the letters of its text.
    """
    intents = len({phrase.intent for phrase in train_set})
    texts, labels = [p.text for p in train_set], [p.intent for p in train_set]
    ranked = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts)
    counts = np.asarray((ranked.transform(texts) > 0).sum(0)).ravel()
    names = ranked.get_feature_names_out()
    vocabulary, used = [], 0
    for i in np.argsort(-counts, kind="stable"):
        used += intents + len(names[i]) + 1
        if used > size:
            break
        vocabulary.append(names[i])
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, vocabulary=vocabulary)
    model = LogisticRegression(C=30, max_iter=300).fit(vectorizer.fit_transform(texts), labels)
    step = np.abs(model.coef_).max() / 127
    model.coef_ = np.round(model.coef_ / step) * step
    accuracy = model.score(vectorizer.transform([p.text for p in test_set]), [p.intent for p in test_set])
    return min(used, size), float(accuracy)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--checkpoints", type=Path, default=Path("build"))
    args = parser.parse_args()
    train_set, test_set = load([args.data / "train.jsonl"]), read_phrases(args.data / "test.jsonl")
    with ProgressBars() as progress:
        course = prepare(train_set, RECIPE, progress)
        for seed in args.seeds:
            checkpoint = fit(course, replace(RECIPE, seed=seed), progress)
            save(checkpoint, args.checkpoints / f"hwu64-{seed}")
            path = HERE / f"hwu64-{seed}.bitnet"
            write_atomically(path, export(checkpoint))
            accuracy = measure(path, test_set).intent
            size = path.stat().st_size
            print(f"ternary, seed {seed}: {size:,} bytes, {accuracy:.2%} in MicroPython", flush=True)
        twin = fit(course, float_twin(RECIPE), progress)
    twin_accuracy = evaluate(twin, test_set).accuracy
    twin_bytes = 4 * sum(parameter.numel() for parameter in twin.model.parameters())
    print(f"float twin, seed 0: {twin_bytes:,} bytes, {twin_accuracy:.2%} in PyTorch")
    size = (HERE / "hwu64-0.bitnet").stat().st_size
    linear_bytes, linear_accuracy = linear_rival(train_set.fixed, test_set, size)
    print(f"TF-IDF and linear, int8: {linear_bytes:,} bytes, {linear_accuracy:.2%}")
    rivals = {"float_twin": twin_accuracy, "linear": linear_accuracy, "linear_bytes": linear_bytes}
    (HERE / "rivals.json").write_text(json.dumps(rivals) + "\n")


if __name__ == "__main__":
    main()
