"""A phrase book to train on: templates in Home Assistant's YAML (hassil syntax), and phrases as they are."""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hassil import Intents
from hassil.errors import HassilError
from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    Sentence,
    TextChunk,
)
from hassil.intents import IntentData, RangeSlotList, SlotList, TextSlotList, TextSlotValue, WildcardSlotList
from hassil.parser import ParseError

from ..errors import BitnetError
from ..model.features import FILE_NAME, Feature, read_definitions
from .phrases import NUMBER, TEXT, Phrase, read_phrases

# What hassil raises where it cannot take its input.
_NOT_HASSIL = (HassilError, ParseError, AssertionError, AttributeError, KeyError, TypeError, ValueError)
_OPTIONAL_PROBABILITY = 0.5
_SYLLABLES = (
    "ba be bi bo bra che da de do dri fa fe flo ga go gra hi ho ja ka ke kli ko la le li lo ma me mi mo na "
    "ne ni no pa pe pi po qua ra re ri ro sa se shi so sta ta te ti to tri tu va ve vi wa we xi ya yo za "
    "ze zo"
).split()
_CODAS = ("", "", "", "n", "r", "s", "l", "t", "nd", "ck", "th", "ng", "m", "x")


@dataclass
class _Template:
    """A sentence of an intent, with what decides the values its lists may take."""

    sentence: Sentence
    data: IntentData


class _UndefinedError(Exception):
    """A template refers to a rule or list that no file defines, or to a list without values."""


class PhraseBook:
    """All phrases of a training set: templates to draw from, and phrases given as they are."""

    def __init__(self, without_slots: Iterable[str] = ()) -> None:
        self._without_slots = frozenset(without_slots)
        self.fixed: list[Phrase] = []
        self.templates: dict[str, list[_Template]] = {}
        self.declared: dict[str, list[str]] = {}
        self.declared_kinds: dict[str, str] = {}
        self.open_slots: set[str] = set()
        self.warnings: list[str] = []
        self.features: tuple[Feature, ...] = ()
        self._lists: dict[str, SlotList] = {}
        self._rules: dict[str, Sentence] = {}
        self._captured: set[str] = set()

    @property
    def intents(self) -> list[str]:
        """Names of all intents: as declared, else in alphabetical order."""
        found = {phrase.intent for phrase in self.fixed} | set(self.templates)
        undeclared = sorted(found - set(self.declared))
        return [name for name in self.declared if name in found] + undeclared

    def sample(self, rng: random.Random, intent: str) -> Phrase:
        """Draw one phrase of an intent from its templates."""
        template = rng.choice(self.templates[intent])
        pieces = list(self._draw(template.sentence.expression, template.data, rng))
        text, spans = _join(pieces)
        for slot, value in template.data.slots.items():
            # Home Assistant gives "turn on all fans" the fixed value name=all: a slot where it can be read.
            if slot in self._captured and slot not in spans:
                match = re.search(rf"\b{re.escape(str(value))}\b", text)
                if match:
                    spans[slot] = match.span()
        return self.trim(Phrase(text, intent, spans))

    def trim(self, phrase: Phrase) -> Phrase:
        """Return the phrase without the slots that are to be left out."""
        spans = {slot: span for slot, span in phrase.spans.items() if slot not in self._without_slots}
        return replace(phrase, spans=spans)

    def add_templates(self, documents: dict[str, Any]) -> None:
        """Parse one merged Home Assistant dictionary of intents, lists and expansion rules."""
        intents = Intents.from_dict(documents)
        self._lists.update(intents.slot_lists)
        self._rules.update(intents.expansion_rules)
        for name, intent in intents.intents.items():
            for data in intent.data:
                for sentence in data.sentences:
                    try:
                        references = list(self._references(sentence.expression, data))
                    except _UndefinedError as error:
                        self.warnings.append(f"left out: {name}: {sentence.text!r}: {error}")
                        continue
                    self._captured.update(reference.slot_name for reference in references)
                    self.templates.setdefault(name, []).append(_Template(sentence, data))

    def _draw(
        self, node: Expression, data: IntentData, rng: random.Random
    ) -> Iterator[tuple[str, str | None]]:
        """Yield (text, slot or None) pieces of one random expansion."""
        if isinstance(node, TextChunk):
            yield node.original_text, None
        elif isinstance(node, Alternative):
            if not (node.is_optional and rng.random() >= _OPTIONAL_PROBABILITY):
                choices = (
                    [item for item in node.items if not _is_empty(item)] if node.is_optional else node.items
                )
                yield from self._draw(rng.choice(choices), data, rng)
        elif isinstance(node, Permutation):
            for item in rng.sample(node.items, len(node.items)):
                yield " ", None
                yield from self._draw(item, data, rng)
        elif isinstance(node, Group):
            for item in node.items:
                yield from self._draw(item, data, rng)
        elif isinstance(node, RuleReference):
            yield from self._draw(self._rule(node, data).expression, data, rng)
        elif isinstance(node, ListReference):
            if node.prefix:
                yield node.prefix, None
            yield self._draw_value(node, data, rng)
            if node.suffix:
                yield node.suffix, None

    def _draw_value(
        self, node: ListReference, data: IntentData, rng: random.Random
    ) -> tuple[str, str | None]:
        inline = node.get_inline_range() if node.is_inline_range else None
        if inline:
            return str(rng.randrange(inline[0], inline[1] + 1, inline[2])), node.slot_name
        values = self._list(node, data)
        if isinstance(values, RangeSlotList):
            return _draw_number(values, rng), node.slot_name
        if isinstance(values, WildcardSlotList):
            return self._draw_wildcard(rng), node.slot_name
        assert isinstance(values, TextSlotList)
        fitting = [value for value in values.values if _fits(value, data)] or values.values
        value = rng.choice(fitting)
        text = _join(list(self._draw(value.text_in, data, rng)))[0]
        return text, node.slot_name if _is_verbatim(value, text) else None

    def _rule(self, node: RuleReference, data: IntentData) -> Sentence:
        rule = data.expansion_rules.get(node.rule_name) or self._rules.get(node.rule_name)
        if rule is None:
            raise _UndefinedError(f"rule <{node.rule_name}> is not defined")
        return rule

    def _list(self, node: ListReference, data: IntentData) -> SlotList:
        values = data.slot_lists.get(node.list_name) or self._lists.get(node.list_name)
        if values is None:
            raise _UndefinedError(f"list {{{node.list_name}}} is not defined")
        if isinstance(values, TextSlotList) and not values.values:
            raise _UndefinedError(f"list {{{node.list_name}}} has no values")
        return values

    def _references(self, node: Expression, data: IntentData) -> Iterator[ListReference]:
        """Return the lists a template refers to, also by rules; raises _UndefinedError if one is missing."""
        if isinstance(node, ListReference):
            values = None if node.is_inline_range else self._list(node, data)
            if isinstance(values, TextSlotList):
                for value in values.values:
                    list(self._references(value.text_in, data))
            yield node
        elif isinstance(node, Group):
            for item in node.items:
                yield from self._references(item, data)
        elif isinstance(node, RuleReference):
            yield from self._references(self._rule(node, data).expression, data)

    def _draw_wildcard(self, rng: random.Random) -> str:
        """Draw free text: words of other phrases and made-up words teach copying instead of recall."""
        words: list[str] = []
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4, 5))):
            new = rng.random() < 0.5 or not self._words()
            words.append(made_up_word(rng) if new else rng.choice(self._words()))
        return " ".join(words)

    def _words(self) -> list[str]:
        if not hasattr(self, "_word_cache"):
            texts = (
                text
                for templates in self.templates.values()
                for t in templates
                for text in _chunks(t.sentence)
            )
            self._word_cache = sorted(
                {word for text in texts for word in re.findall(r"[a-z']+", text.lower())}
            )
        return self._word_cache


def load(paths: Iterable[Path], without_slots: Iterable[str] = ()) -> PhraseBook:
    """Read phrase files and folders: .yaml templates (and Home Assistant fixtures), .jsonl and .csv phrases.

    The `features.toml` of a folder defines the features that its phrases have.

    Slots in `without_slots` are left out: what the intent implies need not be copied from the phrase. Raises
    BitnetError if a file cannot be understood or there is no phrase in any of them.
    """
    paths = list(paths)
    book = PhraseBook(without_slots)
    book.features = _definitions(paths)
    merged: dict[str, Any] = {"language": "en", "intents": {}, "lists": {}, "expansion_rules": {}}
    for path in _files(paths):
        if path.suffix == ".yaml":
            _merge_yaml(path, merged, book)
        else:
            book.fixed.extend(map(book.trim, read_phrases(path)))
    try:
        book.add_templates(merged)
    except RecursionError:
        raise BitnetError("the templates cannot be expanded: an expansion rule refers to itself") from None
    except _NOT_HASSIL as error:
        raise BitnetError(f"the templates are not in hassil's syntax: {_one_line(error)}") from error
    if not book.intents:
        raise BitnetError("no phrases found: give at least one .yaml, .jsonl or .csv file that has some")
    return book


def _definitions(paths: Iterable[Path]) -> tuple[Feature, ...]:
    """Return the feature definitions of the only folder that has some."""
    files = [path / FILE_NAME for path in paths if (path / FILE_NAME).is_file()]
    if len(files) > 1:
        raise BitnetError(f"{files[1]}: the features are defined already, in {files[0]}")
    return read_definitions(files[0]) if files else ()


def made_up_word(rng: random.Random) -> str:
    """Return a pronounceable word that is in no dictionary."""
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((1, 2, 2, 3)))) + rng.choice(_CODAS)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(
                p for p in path.rglob("*") if p.suffix in (".yaml", ".jsonl", ".csv") and p.stem != "test"
            )
        elif path.suffix in (".yaml", ".jsonl", ".csv") and path.is_file():
            yield path
        elif path.exists():
            raise BitnetError(f"{path}: phrase files end in .yaml, .jsonl or .csv")
        else:
            raise BitnetError(f"{path}: no such file or folder")


def _merge_yaml(path: Path, merged: dict[str, Any], book: PhraseBook) -> None:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BitnetError(f"{path}: not readable as YAML: {_one_line(error)}") from error
    if not isinstance(document, dict) or not document:
        raise BitnetError(
            f"{path}: has no phrases; a template file has `intents:`, `lists:` or `expansion_rules:`"
        )
    merged["lists"].update(_section(document, "lists", path))
    merged["lists"].update(_fixture_lists(document, path))
    merged["expansion_rules"].update(_section(document, "expansion_rules", path))
    for name, slot in _section(document, "slots", path).items():
        if not isinstance(slot, dict) or slot.get("kind") not in (NUMBER, TEXT):
            raise BitnetError(f"{path}: slot {name} needs a `kind`, which is number or text")
        book.declared_kinds[name] = slot["kind"]
        if slot.get("open"):
            book.open_slots.add(name)
    intents = _section(document, "intents", path)
    if "data" in document:
        # Home Assistant's newer layout: one folder per intent.
        intents[path.parent.name] = {"data": document["data"]}
    for name, intent in intents.items():
        if isinstance(intent, dict) and "data" in intent:
            merged["intents"].setdefault(name, {"data": []})["data"].extend(
                _blocks(intent["data"], name, path)
            )
        elif isinstance(intent, dict) and isinstance(intent.get("slots", []), list):
            book.declared[name] = intent.get("slots", [])
        else:
            raise BitnetError(f"{path}: intent {name} needs `data` with sentences, or a list of its `slots`")


def _section(document: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    section = document.get(key) or {}
    if not isinstance(section, dict):
        raise BitnetError(f"{path}: `{key}:` must be a mapping of names")
    return dict(section)


def _blocks(blocks: Any, intent: str, path: Path) -> list[dict[str, Any]]:
    """Return the entries of an intent's `data`."""
    if isinstance(blocks, list):
        sentences = [block.get("sentences") if isinstance(block, dict) else None for block in blocks]
        if all(isinstance(some, list) and all(isinstance(one, str) for one in some) for some in sentences):
            return blocks
    raise BitnetError(f"{path}: intent {intent}: `data` must be a list of entries that have `sentences`")


def _fixture_lists(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Read the areas, floors and entities of a home from a file like Home Assistant's fixtures."""
    lists: dict[str, Any] = {}
    try:
        for key, name in (("areas", "area"), ("floors", "floor")):
            if key in document:
                lists[name] = {"values": [str(entry["name"]).lower() for entry in document[key]]}
        if "entities" in document:
            lists["name"] = {"values": [_entity(entry) for entry in document["entities"]]}
    except (AttributeError, KeyError, TypeError) as error:
        raise BitnetError(f"{path}: areas and floors need a `name` each, entities also an `id`") from error
    return lists


def _entity(entry: dict[str, Any]) -> dict[str, Any]:
    context = {"domain": entry["id"].split(".")[0]}
    device_class = (entry.get("attributes") or {}).get("device_class")
    if device_class:
        context["device_class"] = device_class
    name = str(entry["name"]).lower()
    return {"in": name, "out": name, "context": context}


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_verbatim(value: TextSlotValue, text: str) -> bool:
    """Tell whether a value means what it says; a "lowest" that stands for 1 cannot be copied."""
    return value.value_out is None or str(value.value_out).lower() == text.lower()


def _fits(value: TextSlotValue, data: IntentData) -> bool:
    """Tell whether an entity may fill a sentence that asks for a certain domain or device class."""
    context = value.context or {}
    wanted: dict[str, Any] = dict(data.requires_context)
    if data.name_domains:
        wanted["domain"] = sorted(data.name_domains)
    for key, required in wanted.items():
        if key in context and context[key] not in _choices(required):
            return False
    return all(context.get(key) not in _choices(banned) for key, banned in data.excludes_context.items())


def _choices(required: Any) -> list[Any]:
    if isinstance(required, dict):
        required = required.get("value", [])
    return required if isinstance(required, list) else [required]


def _draw_number(values: RangeSlotList, rng: random.Random) -> str:
    number = rng.randrange(values.start, values.stop + 1, values.step)
    if values.fraction_type is not None and rng.random() < 0.2:
        return f"{number}.5"
    return str(number)


def _is_empty(node: Expression) -> bool:
    if isinstance(node, TextChunk):
        return bool(node.is_empty)
    return isinstance(node, Group) and all(_is_empty(item) for item in node.items)


def _chunks(sentence: Sentence) -> Iterator[str]:
    stack: list[Expression] = [sentence.expression]
    while stack:
        node = stack.pop()
        if isinstance(node, TextChunk):
            yield node.original_text
        elif isinstance(node, Group):
            stack.extend(node.items)


def _join(pieces: list[tuple[str, str | None]]) -> tuple[str, dict[str, tuple[int, int]]]:
    """Concatenate pieces with single spaces, and say where each slot's piece went."""
    text = ""
    spans: dict[str, tuple[int, int]] = {}
    for piece, slot in pieces:
        words = " ".join(piece.split())
        if text and not text.endswith(" ") and piece[:1].isspace():
            text += " "
        start = len(text)
        text += words
        if slot is not None and words:
            spans[slot] = (start, len(text))
        if words and piece[-1:].isspace():
            text += " "
    return text.rstrip(), spans
