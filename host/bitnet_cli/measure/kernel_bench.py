"""What the kernels cost: cycles on Cortex-M0+, instructions elsewhere, of the machine code that is shipped.

Every measured call computes something, and what it computes is compared with NumPy or with the oracle. All
figures are counts from emulators: they repeat exactly, and none comes from silicon.
"""

import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..emulation import machines, structs
from ..emulation.cores import PROCESSORS, Measured, Program, link
from ..emulation.machines import MACHINES, Machine, architecture_of, pointer_size_of
from ..emulation.rp2040 import Rp2040
from ..emulation.structs import Struct
from ..errors import BitnetError
from ..model.modelfile import Matrix, ModelConfig, Scale
from ..model.oracle import Bounds, Oracle, Scales, requant
from ..model.packing import BINARY, TERNARY, Int8
from ..model.random_model import random_model
from ..natmod.build import find_tools, micropython_source, module_path
from ..paths import DEVICE
from ..progress import Progress

# What the kernels are compared with, in C.
BASELINES = Path(__file__).parent / "baselines"
TARGETS = MACHINES
SIZES = (256, 128)
"""The numbers of rows and columns of the square matrices."""

# The shapes of the whole-token figures: d, ffn, heads, kv heads, head size.
_SHAPES = {"260k": (64, 176, 8, 4, 8), "1m": (128, 352, 8, 4, 16)}
_LAYERS, _VOCABULARY, _WINDOW, _POSITION = 5, 512, 32, 40
_TYPES = {"binary": BINARY, "ternary": TERNARY}
_COLUMNS_PER_GROUP = {BINARY: 8, TERNARY: 5}
_TABLES_SIZE, _ALIGNED = 52 * 512, 8
_FRACTION_BITS, _SCALE = 12, Scale(20000, -30)
_RUNQ_GROUP, _UNPACK_WEIGHTS = 64, 16
_IN_PLACE, _STREAMED = 0, 2  # bn_placement_t
_DMA_CHANNEL = 3


@dataclass(frozen=True)
class Result:
    """One figure: `count` cycles or instructions; `value` for each weight, or each weight and token (MAC)."""

    target: str
    kernel: str
    rows: int | None
    cols: int | None
    metric: str
    value: float
    count: int
    flash_bytes: int = 0
    """The bytes read from flash while it ran."""
    functions: dict[str, int] = field(default_factory=dict)
    """For a whole token: `count` by function, the largest first."""


@dataclass(frozen=True)
class Code:
    """The machine code of one module."""

    target: str
    architecture: str
    text_bytes: int
    is_shipped: bool
    """The module that was built is the one under device/natmod, byte for byte."""


@dataclass(frozen=True)
class KernelBench:
    """All figures of a run."""

    results: list[Result]
    code: list[Code]

    def as_dict(self) -> dict[str, list[dict[str, object]]]:
        """Return all figures for JSON."""
        return {"results": [asdict(r) for r in self.results], "code": [asdict(c) for c in self.code]}

    def value(self, target: str, kernel: str, size: int | None = None) -> float | None:
        """Return a figure; None if it was not measured."""
        for result in self.results:
            if (result.target, result.kernel, result.rows) == (target, kernel, size):
                return result.value
        return None


def run(targets: Sequence[str], progress: Progress) -> KernelBench:
    """Build the modules of these targets and measure them. Raises BitnetError if a compiler is missing."""
    results: list[Result] = []
    code = []
    for target in targets:
        find_tools(architecture_of(target), progress)
    source = micropython_source(progress)
    for target in targets:
        progress(f"{target}: compiling")
        program = _link(target, source)
        code.append(_code(target, program))
        for result in measure_target(target, program):
            progress(f"{target}: {result.kernel} {result.value:.3f}")
            results.append(result)
    return KernelBench(results, code)


def _link(target: str, source: Path) -> Program:
    with tempfile.TemporaryDirectory(prefix="bitnet-bench-") as folder:
        return link(architecture_of(target), source, Path(folder), BASELINES)


def _code(target: str, program: Program) -> Code:
    shipped = module_path(DEVICE / "natmod", program.architecture)
    is_shipped = shipped.is_file() and shipped.read_bytes() == program.module
    return Code(target, program.architecture, program.text_size, is_shipped)


def measure_target(target: str, program: Program) -> Iterator[Result]:
    """Measure every figure of one target."""
    bench = Bench(target, program)
    for size in SIZES:
        yield from bench.matrices(size)
        yield from bench.baselines(size)
    for shape in _SHAPES:
        for weights in _TYPES:
            yield from bench.tokens(shape, weights)


class Bench:
    """One target; its machine is the emulator's, or another that runs the same program."""

    def __init__(self, target: str, program: Program, machine: Machine | None = None) -> None:
        self._target, self._program = target, program
        self._unit = "cycles" if target == "cortex-m0plus" else "instructions"
        self._pointer_size = pointer_size_of(target)
        self._machine = machine or machines.machine(target, program)

    def _result(self, kernel: str, count: int, weights: int, size: int | None, per: str = "weight") -> Result:
        metric = f"{self._unit}_per_{per}"
        return Result(self._target, kernel, size, size, metric, round(count / weights, 4), count)

    def _struct(self, layout: Struct, **values: int) -> int:
        """Write a C structure into memory; return its address."""
        return self._machine.allocate(layout.pack(self._pointer_size, **values))

    def _ints(self, address: int, count: int) -> npt.NDArray[np.int64]:
        return np.frombuffer(self._machine.read(address, 4 * count), "<i4").astype(np.int64)

    # --- matrices: tables, rows and requantization ---

    def matrices(self, size: int) -> Iterator[Result]:
        """Measure the product of a vector, and of two at once, with a square matrix of `size` rows."""
        for name, weight_type in _TYPES.items():
            for bits in (8, 4, 2):
                kernel = name if bits == 8 else f"{name}_a{bits}"
                count = self.product(size, weight_type, bits, 1)
                yield self._result(kernel, count, size * size, size)
            count = self.product(size, weight_type, 8, 2)
            yield self._result(f"{name}_prefill2", count, 2 * size * size, size, "mac")

    def product(self, size: int, weight_type: int, bits: int, tokens: int) -> int:
        """Measure bn_bitlinear or bn_bitlinear_pair, and bn_requant for each token."""
        self._machine.reset()
        rng = np.random.default_rng(size + weight_type)
        low = -1 if weight_type == TERNARY else 0
        values = rng.integers(low, 2, (size, size)).astype(np.int8)
        if weight_type == BINARY:
            values = 2 * values - np.int8(1)
        limit = (1 << (bits - 1)) - 1
        codes = rng.integers(-limit, limit + 1, (2, size)).astype(np.int8)
        padded = size + _COLUMNS_PER_GROUP[weight_type]
        outs = [self._machine.allocate(bytes(4 * size)) for _ in range(2)]
        inputs = [self._machine.allocate(c.tobytes() + bytes(padded - size)) for c in codes]
        matrix = self._machine.allocate(Matrix(_SCALE, values).pack(weight_type))
        tables, sums = self._machine.allocate(bytes(_TABLES_SIZE)), self._machine.allocate(bytes(4 * size))
        shared = self._struct(
            structs.INPUT,
            weight_type=weight_type,
            columns=size,
            bits=bits,
            codes_0=inputs[0],
            codes_1=inputs[1],
            tables=tables,
            pair_sums=sums,
        )
        product = self._struct(structs.PRODUCT, matrix=matrix, out_0=outs[0], out_1=outs[1], rows=size)
        name = "bn_bitlinear" if tokens == 1 else "bn_bitlinear_pair"
        count = self._machine.measure(name, shared, product, 1).cost
        for out, code in zip(outs[:tokens], codes, strict=False):
            sums_of_rows = values.astype(np.int64) @ code
            _check(name, self._ints(out, size), sums_of_rows)
            count += self._requant(out, sums_of_rows, size)
        return count

    def _requant(self, out: int, sums: npt.NDArray[np.int64], columns: int) -> int:
        scale = self._struct(structs.SCALE, m=_SCALE.m, e=_SCALE.e)
        bound = 127 * columns
        cost = self._machine.measure("bn_requant", out, len(sums), bound, scale, _FRACTION_BITS).cost
        scales = Scales(np.array(_SCALE.m), np.array(_SCALE.e))
        wanted = requant(sums, scales, _FRACTION_BITS, columns, Bounds(True))
        _check("bn_requant", self._ints(out, len(sums)), wanted)
        return cost

    # --- what others do ---

    def baselines(self, size: int) -> Iterator[Result]:
        """Measure the kernels of `baselines/`."""
        rng = np.random.default_rng(size)
        codes = rng.integers(-127, 128, size).astype(np.int8)
        weights = rng.integers(-127, 128, (size, size)).astype(np.int8)
        for name, measure in (
            ("int8_cmsis_style", self._cmsis_style),
            ("int8_runq_style", self._runq_style),
            ("ternary_unpack", self._unpack),
        ):
            self._machine.reset()
            yield self._result(name, measure(codes, weights), size * size, size)

    def _cmsis_style(self, codes: Int8, weights: Int8) -> int:
        size, offset, shift = len(codes), 3, -8
        x, w = (self._machine.allocate(data.tobytes()) for data in (codes, weights))
        bias, out = (self._machine.allocate(bytes(4 * size)) for _ in range(2))
        product = self._struct(
            structs.INT8_PRODUCT,
            input=x,
            weights=w,
            bias=bias,
            out=out,
            input_offset=offset,
            multiplier=1 << 30,
            shift=shift,
            columns=size,
            rows=size,
        )
        cost = self._machine.measure("int8_cmsis_style", product).cost
        sums = weights.astype(np.int64) @ (codes.astype(np.int64) + offset)
        halves = (sums + 1) >> 1  # the multiplier is one half
        expected = np.clip((halves + 127 + (halves >= 0)) >> 8, -128, 127)
        _check("int8_cmsis_style", np.frombuffer(self._machine.read(out, size), np.int8), expected)
        return cost

    def _runq_style(self, codes: Int8, weights: Int8) -> int:
        size = len(codes)
        groups = size // _RUNQ_GROUP
        rng = np.random.default_rng(groups)
        code_scales = rng.integers(16384, 32768, groups).astype(np.int16)
        weight_scales = rng.integers(16384, 32768, (size, groups)).astype(np.int16)
        x, w, xs, ws = (
            self._machine.allocate(data.tobytes()) for data in (codes, weights, code_scales, weight_scales)
        )
        out = self._machine.allocate(bytes(4 * size))
        product = self._struct(
            structs.RUNQ_PRODUCT,
            input=x,
            weights=w,
            input_scales=xs,
            weight_scales=ws,
            out=out,
            columns=size,
            rows=size,
        )
        cost = self._machine.measure("int8_runq_style", product).cost
        products = weights.astype(np.int64) * codes
        sums = products.reshape(size, groups, _RUNQ_GROUP).sum(-1)
        scales = code_scales.astype(np.int64) * weight_scales >> 15
        _check("int8_runq_style", self._ints(out, size), ((sums >> 5) * scales >> 10).sum(-1))
        return cost

    def _unpack(self, codes: Int8, weights: Int8) -> int:
        size = len(codes)
        ternary = weights % 3 - 1
        fields = (ternary & 3).astype(np.uint32).reshape(size, -1, _UNPACK_WEIGHTS)
        words = (fields << np.arange(0, 32, 2, dtype=np.uint32)).sum(-1, dtype=np.uint32)
        x, w = (self._machine.allocate(data.tobytes()) for data in (codes, words))
        out = self._machine.allocate(bytes(4 * size))
        product = self._struct(structs.UNPACK_PRODUCT, input=x, weights=w, out=out, columns=size, rows=size)
        cost = self._machine.measure("ternary_unpack", product).cost
        _check("ternary_unpack", self._ints(out, size), ternary.astype(np.int64) @ codes)
        return cost

    # --- whole tokens ---

    def tokens(self, shape: str, weights: str) -> Iterator[Result]:
        """Measure a token with the greedy choice after it, a choice with probabilities, two prompt tokens.

        On Cortex-M0+ also a token whose weights are in flash.
        """
        config = _config(shape, _TYPES[weights])
        model, layer_weights = random_model(config, 1), count_layer_weights(config)
        suffix = "" if weights == "binary" else f"_{weights}"
        session = _Session(self._machine, model)
        yield self._token(f"token_{shape}{suffix}", session, layer_weights)
        choice = session.choose(with_permille=True)
        yield self._result(f"choice_{shape}{suffix}", choice.cost, layer_weights, None)
        pair = _Session(self._machine, model).feed(2)
        yield self._result(f"prefill2_{shape}{suffix}", pair.cost, 2 * layer_weights, None, "mac")
        if self._target == "cortex-m0plus":
            for name, placement in (("flash", _IN_PLACE), ("streamed", _STREAMED)):
                rp2040 = Rp2040(PROCESSORS[self._target], self._program)
                session = _Session(rp2040, model, placement)
                read = rp2040.missed_bytes + rp2040.dma_bytes
                result = self._token(f"token_{shape}{suffix}_{name}", session, layer_weights)
                read = rp2040.missed_bytes + rp2040.dma_bytes - read
                yield replace(result, flash_bytes=read)

    def _token(self, kernel: str, session: "_Session", layer_weights: int) -> Result:
        feed, choice = session.feed(1), session.choose(with_permille=False)
        functions = Counter(feed.by_function) + Counter(choice.by_function)
        result = self._result(kernel, feed.cost + choice.cost, layer_weights, None)
        return replace(result, functions=dict(functions.most_common()))


def _config(shape: str, weight_type: int) -> ModelConfig:
    hidden, inner, heads, kv_heads, head_dim = _SHAPES[shape]
    return ModelConfig(
        vocab_size=_VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_layers=_LAYERS,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        window=_WINDOW,
        weight_type=weight_type,
        head_type=weight_type,
    )


def count_layer_weights(config: ModelConfig) -> int:
    """Count the weights of all layers, without the embedding, the head and the norms."""
    attention = 2 * config.hidden_size * (config.query_size + config.kv_size)
    return config.num_layers * (attention + 3 * config.hidden_size * config.intermediate_size)


class _Session:
    """A model at work, in RAM or on an RP2040's flash, checked against the oracle."""

    def __init__(self, machine: Machine, model: bytes, placement: int = _IN_PLACE) -> None:
        machine.reset()
        self._machine, self._model = machine, model
        self._oracle = Oracle(model)
        self._ids = np.random.default_rng(2).integers(0, _VOCABULARY, _POSITION + 2).astype("<u2")
        self._at = machine.flash(model) if isinstance(machine, Rp2040) else machine.allocate(model)
        size = machine.call("bn_state_size", self._at, len(model), 0)
        size += machine.call("bn_placement_size", self._at, len(model), placement)
        self._state = machine.allocate(bytes(size))
        self._succeed("bn_init", self._state, size, self._at, len(model), 0)
        self._succeed("bn_place", self._state, size, self._at, placement, _DMA_CHANNEL)
        before = machine.allocate(self._ids[:_POSITION].tobytes())
        self._oracle.feed(self._ids[:_POSITION].tolist())
        # The last of them measured, so that the cache of a flash is as it is in the middle of a reply.
        self._succeed("bn_feed", self._state, self._at, before, _POSITION - 1, 0)
        machine.measure("bn_feed", self._state, self._at, before + 2 * (_POSITION - 1), 1, 0)

    def _succeed(self, name: str, *arguments: int) -> None:
        if self._machine.call(name, *arguments) < 0:
            raise BitnetError(f"{name} failed in the emulator")

    def choose(self, with_permille: bool) -> Measured:
        """Choose the best token of the whole vocabulary, measured."""
        allowed = b"\xff" * (_VOCABULARY // 8)
        mask, out = self._machine.allocate(allowed), self._machine.allocate(bytes(8))
        permille = out + 4 if with_permille else 0
        measured = self._machine.measure("bn_top_k", self._state, self._at, mask, 1, out, permille)
        best = self._oracle.top_k(allowed, 1)
        expected = best.ids[0], best.permille[0] if with_permille else 0
        _check("bn_top_k", struct.unpack("<H2xH", self._machine.read(out, 6)), expected)
        return measured

    def feed(self, count: int) -> Measured:
        """Feed the next token, or two tokens in one call, measured."""
        ids = self._ids[_POSITION : _POSITION + count]
        address = self._machine.allocate(ids.tobytes())
        measured = self._machine.measure("bn_feed", self._state, self._at, address, count, 0)
        self._oracle.feed(ids.tolist())
        logits = self._machine.allocate(bytes(4 * _VOCABULARY))
        self._succeed("bn_logits", self._state, self._at, logits)
        _check(
            "bn_feed",
            np.frombuffer(self._machine.read(logits, 4 * _VOCABULARY), "<i4"),
            self._oracle.logits(),
        )
        return measured


def _check(name: str, got: npt.ArrayLike, expected: npt.ArrayLike) -> None:
    if not np.array_equal(got, expected):
        raise BitnetError(f"{name} does not compute what it should: its count would mean nothing")
