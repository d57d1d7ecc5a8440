"""Tables and a picture of what `bench board` found."""

from pathlib import Path

from . import chart
from .board_bench import BoardBench, TimedPhrase

_SHARES = (0.5, 0.95, 0.99)


def as_text(bench: BoardBench) -> str:
    """Format the figures as tables."""
    how = "emulated, cycles with flash charged" if bench.is_emulated else "measured, with the serial line"
    fastest = bench.frequencies[-1]
    lines = [f"{bench.board}: {how}", "", _row("frequency", "P50", "P95", "P99", "prefill", "decode")]
    for at in bench.frequencies:
        percentiles = (f"{at.percentile(share):.1f} ms" for share in _SHARES)
        speeds = (f"{at.prefill_tokens_per_second:.0f} tok/s", f"{at.decode_tokens_per_second:.0f} tok/s")
        lines.append(_row(f"{at.hertz / 1e6:.0f} MHz", *percentiles, *speeds))
    lines += ["", f"at {fastest.hertz / 1e6:.0f} MHz"]
    lines += [_phrase(phrase) for phrase in fastest.phrases]
    growth = f"growing by {bench.heap_growth:,}"
    lines += ["", f"heap {bench.heap:,} bytes, at most {bench.peak_heap:,} taken, {growth}"]
    if bench.peak_ram is not None:
        lines.append(f"RAM at most {bench.peak_ram:,} bytes with the firmware's own and the stack")
    lines.append(f"KV cache {bench.kv_cache:,} bytes")
    return "\n".join(lines)


def _phrase(phrase: TimedPhrase) -> str:
    line = f"  {phrase.text:42}{phrase.median:7.1f} ms"
    if phrase.cycles is not None:
        line += f"{phrase.cycles:14,} cycles, {phrase.flash_cycles:,} of them for flash"
    return line


def _row(name: str, *cells: str) -> str:
    return f"{name:12}" + "".join(f"{cell:>13}" for cell in cells)


def draw(bench: BoardBench, path: Path) -> None:
    """Draw the phrases' latencies at the highest frequency, as bars."""
    fastest = bench.frequencies[-1]
    figure, (axes,) = chart.panels(1, 8, 3.6)
    places = range(len(fastest.phrases))
    times = [phrase.median for phrase in fastest.phrases]
    axes.barh(places, times, color="tab:blue", label="all")
    if bench.is_emulated:
        waits = [(phrase.flash_cycles or 0) / fastest.hertz * 1e3 for phrase in fastest.phrases]
        axes.barh(places, waits, color="tab:orange", label="of which waiting for flash")
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    axes.set_yticks(places, [phrase.text for phrase in fastest.phrases])
    axes.invert_yaxis()
    for place, milliseconds in zip(places, times, strict=True):
        axes.text(milliseconds, place, f" {milliseconds:.0f}", va="center", fontsize=8)
    axes.set_xlabel("milliseconds from the AT line to OK")
    how = "emulated" if bench.is_emulated else "measured"
    axes.set_title(f"{bench.board} at {fastest.hertz / 1e6:.0f} MHz, {how}", fontsize=9)
    chart.save(figure, path)
