"""Where the rooms of the repository and the stock model lie: in the wheel or in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def _room(path: str) -> Path:
    packaged = _PACKAGE / f"_{Path(path).name}"
    return packaged if packaged.is_dir() else _CHECKOUT / path


DEVICE = _room("device")
DEVICE_TOOLS = DEVICE / "tools"
NATIVE = _room("native")
BOARDS = _room("boards")
STOCK_MODEL = DEVICE / "models" / "home.bitnet"
