"""Weights in place, copied or streamed: the same answers, from as much RAM as each has to take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitnet_cli.model import modelfile


def test_placements(on_device: Callable[..., Any], random_model: Path) -> None:
    *placements, refusal = on_device("placement.py", random_model)
    answers = {placement: answer for placement, _, answer in placements}
    assert answers["copied"] == answers["streamed"] == answers["in_place"]
    sizes = {placement: size for placement, size, _ in placements}
    config = modelfile.read(random_model.read_bytes()).config
    layer = (sizes["copied"] - sizes["in_place"]) // config.num_layers
    weights = 2 * config.hidden_size * (config.query_size + config.kv_size)
    weights += 3 * config.hidden_size * config.intermediate_size
    assert layer > weights // 8
    assert sizes["streamed"] == sizes["in_place"] + layer
    assert refusal == "placement elsewhere: it is one of in_place, copied, streamed"
