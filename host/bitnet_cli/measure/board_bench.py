"""How fast a deployed board answers, and how much memory that takes: on the bench, or emulated.

Emulated figures are cycles of an RP2040, with flash charged as pico_timing.py does, divided by the frequency.
Measured ones are times between the host's writing of a line and its reading of the final result code.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..boards.at import AtClient, quote
from ..boards.board import Board
from ..boards.deploy import read_model
from ..boards.image import build_image
from ..boards.link import Link
from ..emulation.pico import Pico, require_rp2040
from ..emulation.pico_repl import Repl
from ..emulation.pico_timing import EMULATED_HZ, TimedPico, Timing
from ..errors import BitnetError
from ..model.modelfile import cache_row_size, read
from ..paths import DEVICE_TOOLS
from ..progress import Progress

_SCRIPT = "checks.py"
_RP2040_RAM = 264 * 1024
_SPEED_TOKENS = 8
_MEMORY_ROUNDS = 3
_REPEATS = 20
_SETTLE_NANOS = 200e6
_FINAL = (b"OK\r\n", b"ERROR\r\n")


@dataclass(frozen=True)
class TimedPhrase:
    """One phrase's latency in milliseconds; of an emulated one also the cycles, and those spent on flash."""

    text: str
    milliseconds: tuple[float, ...]
    cycles: int | None = None
    flash_cycles: int | None = None

    @property
    def median(self) -> float:
        """The median latency in milliseconds."""
        return statistics.median(self.milliseconds)


@dataclass(frozen=True)
class AtFrequency:
    """The figures at one frequency of the processor."""

    hertz: int
    phrases: tuple[TimedPhrase, ...]
    prefill_tokens_per_second: float
    decode_tokens_per_second: float

    def percentile(self, share: float) -> float:
        """Return the milliseconds that this share of all answers took at most (nearest rank)."""
        times = sorted(one for phrase in self.phrases for one in phrase.milliseconds)
        return times[math.ceil(share * len(times)) - 1]


@dataclass(frozen=True)
class BoardBench:
    """All figures of a board; sizes in bytes."""

    board: str
    is_emulated: bool
    frequencies: tuple[AtFrequency, ...]
    heap: int
    peak_heap: int
    heap_growth: int
    kv_cache: int
    peak_ram: int | None
    """RAM taken at most on an emulated RP2040, with the firmware's static memory and the stack."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, with the percentiles."""
        table = asdict(self)
        for entry, at in zip(table["frequencies"], self.frequencies, strict=True):
            entry |= {f"p{round(100 * share)}_ms": at.percentile(share) for share in (0.5, 0.95, 0.99)}
        return table


def _frequencies(board: Board) -> tuple[int, ...]:
    if board.clock is None:
        raise BitnetError(f"{board.name} has no [clock] in its board.toml")
    return tuple(sorted({board.clock.least, board.clock.default, board.clock.most}))


def _kv_cache(model: Path) -> int:
    config = read(read_model(model)).config
    return config.num_layers * config.window * cache_row_size(config)


# --- a real board ---


def bench_port(
    port: str, board: Board, model: Path, phrases: Sequence[str], progress: Progress
) -> BoardBench:
    """Measure a board that has been deployed to, which then runs as it is set again. Raises BitnetError."""
    kv_cache, found = _kv_cache(model), []
    for hertz in _frequencies(board):
        progress(f"measuring at {hertz // 1_000_000} MHz")
        with Link(port, _SCRIPT) as link:
            link.run(f"import machine; machine.freq({hertz})")
            prefill, decode = link.ask(f"speed({_SPEED_TOKENS})")
            heap, peak, growth = link.ask(f"memory({list(phrases)!r}, {_MEMORY_ROUNDS})")
        with AtClient(port) as client:
            client.wait_for_model()
            with _fixed(client, hertz):
                timed = tuple(_time_phrase(client, phrase) for phrase in phrases)
        found.append(AtFrequency(hertz, timed, _per_second(prefill), _per_second(decode)))
    return BoardBench(board.name, False, tuple(found), heap, peak, growth, kv_cache, None)


@contextlib.contextmanager
def _fixed(client: AtClient, hertz: int) -> Iterator[None]:
    """Hold the service at one frequency, which it would set itself at its start; then restore its own."""
    before = _dvfs(client, "?")
    try:
        _dvfs(client, f'="fixed",{hertz}')
        now = _dvfs(client, "")
        if not now.startswith(f"{hertz},"):
            raise BitnetError(f"the board does not run at {hertz} Hz: AT+DVFS says {now}")
        yield
    finally:
        _dvfs(client, f"={before}")


def _dvfs(client: AtClient, form: str) -> str:
    """Return what AT+DVFS says in this form."""
    response = client.command(f"AT+DVFS{form}")
    if not response.ok:
        raise BitnetError(f"the board refuses AT+DVFS{form}: {response.final}")
    return "".join(response.lines).removeprefix("+DVFS: ")


def _per_second(microseconds: float) -> float:
    return _SPEED_TOKENS * 1e6 / microseconds


def _time_phrase(client: AtClient, phrase: str) -> TimedPhrase:
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        client.infer(phrase)
        times.append((time.perf_counter() - started) * 1000)
    return TimedPhrase(phrase, tuple(times))


# --- an emulated one ---


def bench_emulated(board: Board, model: Path, phrases: Sequence[str], progress: Progress) -> BoardBench:
    """Build the board's flash, run it on an emulated RP2040 and count. Raises BitnetError."""
    require_rp2040(board)
    pico = Pico(build_image(board, model, progress).flash())
    pico.wait_for_usb()
    pico.wait_for(b"ready\r\n")
    timed = TimedPico(pico)
    counted = []
    for phrase in ("", *phrases):  # the first only fills the cache
        progress(f"counting {phrase!r}" if phrase else "starting")
        counted.append(_count_line(pico, timed, f"AT+INFER={quote(phrase)}" if phrase else "AT"))
    progress("counting tokens")
    repl = Repl(pico)
    repl.run((DEVICE_TOOLS / _SCRIPT).read_text(encoding="utf-8"))
    heap, peak, growth = repl.ask(f"memory({list(phrases)!r}, {_MEMORY_ROUNDS})")
    speeds = repl.ask(f"speed({_SPEED_TOKENS})", timed)
    found = tuple(
        AtFrequency(
            hertz,
            tuple(
                TimedPhrase(phrase, (timing.milliseconds(hertz),), timing.cycles, timing.flash_cycles)
                for phrase, timing in zip(phrases, counted[1:], strict=True)
            ),
            *(_per_second(one * EMULATED_HZ / hertz) for one in speeds),
        )
        for hertz in _frequencies(board)
    )
    ram = _RP2040_RAM - heap + peak
    return BoardBench(board.name, True, found, heap, peak, growth, _kv_cache(model), ram)


def _count_line(pico: Pico, timed: TimedPico, line: str) -> Timing:
    """Count from when the whole line lies at the USB controller to the end of its final result code."""
    _settle(pico)
    pico.received.clear()
    pico.send(line.encode() + b"\r")
    timing = timed.run(lambda: pico.received.endswith(_FINAL))
    if not pico.received.endswith(_FINAL[0]):
        raise BitnetError(f"the emulated board refuses {line}: {bytes(pico.received)!r}")
    return timing


def _settle(pico: Pico) -> None:
    """Let the board do what it does when nobody waits."""
    until = pico.clock.nanos + _SETTLE_NANOS
    while pico.clock.nanos < until and pico.run():
        pass
