"""Writes device/models/README.md: what the stock model answers, from the model file and its labels' meanings.

`PYTHONPATH=tests python -m support.model_docs` brings the page up to date.
"""

from pathlib import Path

import yaml
from bitnet_cli.model.grammar import read_labels
from bitnet_cli.model.modelfile import read
from bitnet_cli.model.tokenizer import read_section
from bitnet_cli.paths import DEVICE, STOCK_MODEL

PAGE = DEVICE / "models" / "README.md"
_LABELS = Path(__file__).parents[2] / "host" / "phrases" / "home" / "labels.yaml"
_HEAD = """# device/models/

`home.bitnet` is the stock model and `home.rules` its fallback rules; `occupancy.bitnet` is an example with
sensor features, made as [`host/`](../../host/README.md#sensor-features) says. This page is written by
`tests/support/model_docs.py`. The stock model is made of [its phrases](../../host/phrases/home) by

    pip install '.[train]'
    bitnet-cli train host/phrases/home --output build/home     # about fifteen minutes on two cores
    bitnet-cli export --model build/home --test host/phrases/home/test.jsonl \\
        --output device/models/home.bitnet

## What the stock model answers

| intent | meaning | slots it may have |
|---|---|---|
"""
_SLOTS_HEAD = """
| slot | kind | what stands in it: words of the phrase, as they are |
|---|---|---|
"""


def page() -> str:
    """Return the page as it should be."""
    file = read(STOCK_MODEL.read_bytes())
    labels = read_labels(file.labels, read_section(file.tokenizer).texts)
    said = yaml.safe_load(_LABELS.read_text(encoding="utf-8"))
    text = _HEAD
    for intent in labels.intents:
        slots = ", ".join(f"`{slot}`" for slot in labels.allowed[intent])
        text += f"| `{intent}` | {said['intents'][intent]['meaning']} | {slots} |\n"
    text += _SLOTS_HEAD
    for slot, kind in labels.slots.items():
        text += f"| `{slot}` | {kind} | {said['slots'][slot]['meaning']} |\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
