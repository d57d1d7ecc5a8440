"""Tables and a picture of what `bench kernels` measured."""

from collections.abc import Sequence
from pathlib import Path

from . import chart
from .kernel_bench import SIZES, Code, KernelBench, Result

_WIDTH = 13


def as_text(bench: KernelBench) -> str:
    """Format the figures as tables: matrices by size, whole tokens, code."""
    targets = [code.target for code in bench.code]
    lines = [
        "Emulated: cycles on cortex-m0plus, instructions elsewhere, per weight (prefill2: also per token)"
    ]
    for size in (*SIZES, None):
        title = f"{size}x{size}, all-in" if size else "a whole token, per layer weight"
        lines += ["", _row(title, targets)]
        lines += [
            _row(f"  {kernel}", [_figure(bench.value(target, kernel, size)) for target in targets])
            for kernel in _kernels(bench.results, size)
        ]
    lines += ["", *_ratio(bench), *_flash(bench), *_code(bench.code)]
    return "\n".join(lines)


def _kernels(results: Sequence[Result], size: int | None) -> list[str]:
    """Return the names of the kernels, in the order of measuring."""
    return list(dict.fromkeys(result.kernel for result in results if result.rows == size))


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:34}" + "".join(f"{cell:>{_WIDTH + 1}}" for cell in cells)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ratio(bench: KernelBench) -> list[str]:
    ours = bench.value("cortex-m0plus", "binary", SIZES[0])
    theirs = bench.value("cortex-m0plus", "int8_cmsis_style", SIZES[0])
    if ours is None or theirs is None:
        return []
    return [f"cortex-m0plus: binary is {theirs / ours:.2f} times as fast as int8 in the style of CMSIS-NN"]


def _flash(bench: KernelBench) -> list[str]:
    """Return what weights in flash cost, against the same token with weights in RAM."""
    lines = []
    for result in bench.results:
        in_ram = bench.value(result.target, result.kernel.rpartition("_")[0])
        if result.flash_bytes and in_ram:
            lines.append(
                f"{result.target}: {result.kernel} reads {result.flash_bytes:,} bytes of flash "
                f"and takes {result.value / in_ram:.2f} times as long as with weights in RAM"
            )
    return lines


def _code(code: Sequence[Code]) -> list[str]:
    lines = []
    for module in code:
        line = f"{module.target}: {module.text_bytes:,} bytes of code in {module.architecture}'s module, "
        lines.append(
            line + ("the one that is shipped" if module.is_shipped else "NOT the bytes that are shipped")
        )
    return lines


def draw(bench: KernelBench, path: Path) -> None:
    """Draw each kernel on each target as a bar, the baselines beside ours."""
    targets = [code.target for code in bench.code]
    figure, all_axes = chart.panels(len(targets), 4.2 * len(targets), 3.6)
    size = SIZES[0]
    for axes, target in zip(all_axes, targets, strict=True):
        results = _distinct([r for r in bench.results if r.target == target and r.rows == size])
        values = [result.value for result in results]
        places = range(len(results))
        colors = ["tab:gray" if _is_baseline(result) else "tab:blue" for result in results]
        axes.barh(places, values, color=colors)
        axes.set_yticks(places, [result.kernel for result in results])
        axes.invert_yaxis()
        for place, value in zip(places, values, strict=True):
            axes.text(value, place, f" {value:.2f}", va="center", fontsize=8)
        axes.set_xlim(0, 1.2 * max(values))
        axes.set_title(f"{target}: {results[0].metric.replace('_', ' ')}", fontsize=9)
    figure.suptitle(f"Matrix {size}x{size} times vector, all-in, emulated; gray: how others do it")
    chart.save(figure, path)


def _distinct(results: Sequence[Result]) -> list[Result]:
    """Leave out results of narrower activations that cost what wider ones do."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for result in results:
        key = result.kernel.partition("_a")[0], result.count
        if key not in seen:
            kept.append(result)
        seen.add(key)
    return kept


def _is_baseline(result: Result) -> bool:
    return result.kernel.startswith("int8") or result.kernel == "ternary_unpack"
