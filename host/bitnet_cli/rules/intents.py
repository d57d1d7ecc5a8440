"""Rules that tell intents apart, learned from phrases: a decision list in which the first match wins.

A rule is a choice of terms, a term is up to three pieces of text that follow each other, such as
` turn.*?light.*? on `. They are chosen one by one, by what they add for the bytes that they take.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..model.grammar import Labels
from ..progress import Progress

_MISTAKE = 2.0  # what a wrong answer costs, where a right one is worth 1
_OUT_OF_SCOPE = 6.0  # intents that the phrases without an intent weigh as much as
_SIZE_POWER = 0.7  # gains are divided by the size to this power: not 1, or single words would always win
_LEAST_GAIN = 0.004  # of an intent's phrases; less is chance
_LEAST_SHARE = 0.01
_MIN_STEM = 4  # letters
_ATOMS, _PAIRS, _TERMS = 48, 40, 400  # for each intent, of those that look best
_MAX_CODE = 120  # bytes of re's code in a rule: the jump over its choices reaches no further
_NOWHERE = 1 << 20

_Indices = npt.NDArray[np.intp]
_Term = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A phrase in the form of rules, and the same with `*` for what stands in its slots."""

    text: str
    masked: str
    intent: str


@dataclass
class _Rule:
    intent: int
    terms: list[_Term] = field(default_factory=list)

    def has_room(self, term: _Term) -> bool:
        return sum(map(_code_size, [*self.terms, term])) <= _MAX_CODE

    @property
    def pattern(self) -> str:
        return "|".join(map(_pattern, self.terms))


@dataclass(frozen=True)
class _Pool:
    """The terms that one intent may use, and which phrases each of them matches."""

    terms: list[_Term]
    sizes: npt.NDArray[np.float64]
    phrases: _Indices
    """The phrases of all terms, one term after the other."""
    starts: _Indices
    """Where the phrases of each term begin."""

    def matches(self, term: int) -> _Indices:
        end = self.starts[term + 1] if term + 1 < len(self.starts) else None
        return self.phrases[self.starts[term] : end]


@dataclass(frozen=True)
class _Step:
    """A term that could be added to a rule, or to a new one at the end."""

    score: float
    term: int
    rule: int
    bytes: int


def learn(
    samples: Sequence[Sample],
    labels: Labels,
    max_bytes: int,
    max_rules: int,
    progress: Progress,
) -> list[str]:
    """Learn lines of rules for all intents but `unknown`, whose phrases they should leave alone.

    progress counts the intents.
    """
    learner = _Learner(samples, labels, progress)
    learner.run(max_bytes, max_rules)
    return [learner.line(rule) for rule in learner.rules]


class _Learner:
    def __init__(self, samples: Sequence[Sample], labels: Labels, progress: Progress) -> None:
        self.labels = labels
        self.rules: list[_Rule] = []
        index = {name: i for i, name in enumerate(labels.intents)}
        self._texts = [f"^{sample.text}$" for sample in samples]
        self._intents = np.array([index[sample.intent] for sample in samples])
        counts = np.bincount(self._intents, minlength=len(index))
        self._weights = 1.0 / counts[self._intents]
        # The rule that answers each phrase, and what that is worth.
        self._owner = np.full(len(samples), _NOWHERE)
        self._value = np.zeros(len(samples))
        found = [Counter[str]() for _ in labels.intents]
        for sample in samples:
            found[index[sample.intent]].update(_atoms(sample.masked))
        everywhere = sum(found, Counter())
        known = [i for i, name in enumerate(labels.intents) if name != labels.unknown]
        if labels.unknown is not None:
            self._weights[self._intents == index[labels.unknown]] *= _OUT_OF_SCOPE
        self._pools: dict[int, _Pool] = {}
        for done, i in enumerate(known, 1):
            atoms = _best_atoms(found[i], everywhere, int(counts[i]), len(samples))
            pool = self._pool(i, atoms) if atoms else None
            if pool is not None:
                self._pools[i] = pool
            progress("rules of intents", done, len(known))

    def line(self, rule: _Rule) -> str:
        name = self.labels.intents[rule.intent]
        slots = " ".join(self.labels.allowed[name])
        return f"{name}\t{rule.pattern}" + (f"\t{slots}" if slots else "")

    def run(self, max_bytes: int, max_rules: int) -> None:
        """Add terms until nothing is to be gained, or no bytes are left."""
        steps = {intent: self._best_step(intent, max_bytes, max_rules) for intent in self._pools}
        left = max_bytes
        while steps:
            intent = max(steps, key=lambda i: (steps[i].score, -i))
            # Others may have taken its phrases since its score was found.
            step = self._best_step(intent, left, max_rules)
            if step.score <= 0:
                del steps[intent]
            elif step.score < steps[intent].score:
                steps[intent] = step
            else:
                self._take(intent, step)
                left -= step.bytes
                steps[intent] = self._best_step(intent, left, max_rules)

    def _best_step(self, intent: int, max_bytes: int, max_rules: int) -> _Step:
        places = [r for r, rule in enumerate(self.rules) if rule.intent == intent]
        if len(self.rules) < max_rules:
            places.append(len(self.rules))
        steps = [self._best_term(intent, place, max_bytes) for place in places]
        return max(steps, key=lambda step: step.score, default=_Step(0, 0, 0, 0))

    def _best_term(self, intent: int, place: int, max_bytes: int) -> _Step:
        """Return the best term to add to the rule at a place."""
        pool = self._pools[intent]
        gained = np.where(self._intents == intent, 1.0, -_MISTAKE) - self._value
        gained = np.where(self._owner > place, self._weights * gained, 0.0)
        gains = np.add.reduceat(gained[pool.phrases], pool.starts)
        is_new = place == len(self.rules)
        head = len(self.line(_Rule(intent)).encode()) if is_new else 0
        sizes = pool.sizes + 1 + head
        fits = (gains >= _LEAST_GAIN) & (sizes <= max_bytes)
        if not is_new:
            fits &= [self.rules[place].has_room(term) for term in pool.terms]
        scores = np.where(fits, gains / sizes**_SIZE_POWER, 0.0)
        best = int(scores.argmax())
        return _Step(float(scores[best]), best, place, int(sizes[best]))

    def _take(self, intent: int, step: _Step) -> None:
        pool = self._pools[intent]
        if step.rule == len(self.rules):
            self.rules.append(_Rule(intent))
        self.rules[step.rule].terms.append(pool.terms[step.term])
        matched = pool.matches(step.term)
        matched = matched[self._owner[matched] > step.rule]
        self._owner[matched] = step.rule
        self._value[matched] = np.where(self._intents[matched] == intent, 1.0, -_MISTAKE)

    def _pool(self, intent: int, atoms: list[str]) -> _Pool | None:
        """Return the terms of an intent's atoms that are worth the most alone; None if none is."""
        values = np.where(self._intents == intent, 1.0, -_MISTAKE) * self._weights
        ranked = []
        for term, phrases in self._terms(intent, atoms):
            value = float(values[phrases].sum())
            if value > 0:
                ranked.append((-value / _size(term) ** _SIZE_POWER, term, phrases))
        ranked.sort(key=lambda entry: entry[:2])
        chosen = {phrases.tobytes(): (term, phrases) for _, term, phrases in reversed(ranked)}
        best = list(reversed(chosen.values()))[:_TERMS]
        if not best:
            return None
        return _Pool(
            [term for term, _ in best],
            np.array([_size(term) for term, _ in best], np.float64),
            np.concatenate([phrases for _, phrases in best]),
            np.cumsum([0] + [len(phrases) for _, phrases in best[:-1]]),
        )

    def _terms(self, intent: int, atoms: list[str]) -> Iterator[tuple[_Term, _Indices]]:
        """Return terms of one to three atoms, and the phrases that they match."""
        first_ends = np.array([self._ends((atom,)) for atom in atoms])
        last_starts = np.array([[text.rfind(atom) for text in self._texts] for atom in atoms])
        is_ours = self._intents == intent
        least = max(2, int(_LEAST_SHARE * is_ours.sum()))

        def followed(term: _Term, ends: _Indices) -> Iterator[tuple[_Term, _Indices]]:
            for atom, is_after in zip(atoms, ends <= last_starts, strict=True):
                if atom not in term and np.count_nonzero(is_after & is_ours) >= least:
                    yield (*term, atom), np.flatnonzero(is_after)

        pairs: list[tuple[_Term, _Indices]] = []
        for atom, ends in zip(atoms, first_ends, strict=True):
            yield (atom,), np.flatnonzero(ends < _NOWHERE)
            pairs += followed((atom,), ends)
        yield from pairs
        total = int(is_ours.sum())

        def promise(pair: tuple[_Term, _Indices]) -> float:
            hits = int(is_ours[pair[1]].sum())
            return float(hits / total * np.log((hits + 0.5) / (len(pair[1]) - hits + 0.5) + 1))

        for term, _ in sorted(pairs, key=lambda pair: (-promise(pair), pair[0]))[:_PAIRS]:
            yield from followed(term, self._ends(term))

    def _ends(self, term: _Term) -> _Indices:
        """Return where the first match of a term ends in each phrase."""
        return np.array([_end(text, term) for text in self._texts])


def _end(text: str, term: _Term) -> int:
    at = 0
    for atom in term:
        at = text.find(atom, at)
        if at < 0:
            return _NOWHERE
        at += len(atom)
    return at


def _atoms(masked: str) -> set[str]:
    """Return words, stems and pairs of words outside of slots, with and without the spaces around them."""
    words = masked.split()
    found = set()
    for i, word in enumerate(words):
        if word == "*":
            continue
        found |= {f" {word} ", f" {word}", f"{word} "}
        found |= {f" {word[:length]}" for length in range(_MIN_STEM, len(word))}
        if i == 0:
            found.add(f"^ {word}")
        if i == len(words) - 1:
            found.add(f"{word} $")
        elif words[i + 1] != "*":
            pair = f"{word} {words[i + 1]}"
            found |= {f" {pair} ", f" {pair}", f"{pair} "}
    if len(words) <= 3 and "*" not in words:
        found.add(f"^{masked}$")
    return found


def _best_atoms(found: Counter[str], everywhere: Counter[str], count: int, total: int) -> list[str]:
    """Return the atoms that tell an intent best from the others; of those that differ in spaces, one."""
    ranked = []
    for atom, hits in found.items():
        if hits >= max(2, _LEAST_SHARE * count):
            here, elsewhere = hits / count, (everywhere[atom] - hits) / (total - count + 1)
            information = here * float(np.log((here + 0.002) / (elsewhere + 0.002)))
            ranked.append((-information, len(atom), atom))
    alike: dict[tuple[int, int, str], str] = {}
    for _, _, atom in sorted(ranked):
        alike.setdefault((found[atom], everywhere[atom], atom.strip(" ^$")[:3]), atom)
    return list(alike.values())[:_ATOMS]


def _pattern(term: _Term) -> str:
    return ".*?".join(re.sub(r"[.\\]", r"\\\g<0>", atom) for atom in term)


def _size(term: _Term) -> int:
    """Return bytes of a term in a line of rules."""
    return len(_pattern(term).encode())


def _code_size(term: _Term) -> int:
    """Return bytes of MicroPython's re: two for a character, five for `.*?`, four for `|`."""
    return sum(2 * len(atom.encode()) for atom in term) + 5 * (len(term) - 1) + 4
