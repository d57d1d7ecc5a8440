"""Pictures of figures, the same file for the same figures."""

from pathlib import Path
from typing import Any

from ..errors import BitnetError


def check_chart_path(path: Path) -> None:
    """Raise BitnetError, before the long work, for a path that save() cannot write."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise BitnetError(f"{path}: the chart is an .svg or a .png")
    if not path.parent.is_dir():
        raise BitnetError(f"{path}: there is no folder {path.parent}")


def panels(count: int, width: float, height: float) -> tuple[Any, Any]:
    """Make a figure with this many axes beside each other; sizes in inches."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text, at half the size
    matplotlib.rcParams["svg.hashsalt"] = "bitnet"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=(width, height), squeeze=False)
    return figure, axes[0]


def save(figure: Any, path: Path) -> None:
    """Write and close a figure."""
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(
        path, dpi=130, metadata={"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
    )
    pyplot.close(figure)
