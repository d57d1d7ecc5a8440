"""The latency and the memory of the stock model on an RP2040, emulated with real firmware."""

import json
from pathlib import Path

import pytest
from bitnet_cli.measure import board_report
from bitnet_cli.measure.board_bench import BoardBench, bench_emulated
from bitnet_cli.measure.reference import REFERENCE_PHRASES
from bitnet_cli.paths import STOCK_MODEL
from support.pico_boards import BOARD

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]

_P95_MS, _HERTZ = 100, 133_000_000
_MAX_RAM, _MAX_KV_CACHE = 200 * 1024, 16 * 1024


@pytest.fixture(scope="module")
def bench() -> BoardBench:
    return bench_emulated(BOARD, STOCK_MODEL, REFERENCE_PHRASES, print)


def test_latency(bench: BoardBench) -> None:
    print(board_report.as_text(bench))
    (fastest,) = (at for at in bench.frequencies if at.hertz == _HERTZ)
    assert len(fastest.phrases) == 10
    assert fastest.percentile(0.95) <= _P95_MS
    assert all(phrase.flash_cycles and phrase.cycles for phrase in fastest.phrases)


def test_memory(bench: BoardBench) -> None:
    assert bench.peak_ram is not None and bench.peak_ram <= _MAX_RAM
    assert bench.kv_cache <= _MAX_KV_CACHE
    assert bench.heap_growth == 0


def test_figures_for_machines_and_people(bench: BoardBench, tmp_path: Path) -> None:
    table = json.loads(json.dumps(bench.as_dict()))
    assert [entry["hertz"] for entry in table["frequencies"]] == [48_000_000, 125_000_000, 133_000_000]
    assert table["frequencies"][2]["p95_ms"] < table["frequencies"][0]["p95_ms"]
    board_report.draw(bench, tmp_path / "chart.svg")
    assert "battery level" in (tmp_path / "chart.svg").read_text()
