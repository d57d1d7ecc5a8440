"""Where the rooms of the repository and the stock model lie: in the wheel or in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def _room(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _CHECKOUT / name


DEVICE = _room("device")
NATIVE = _room("native")
BOARDS = _room("boards")
STOCK_MODEL = DEVICE / "models" / "home.bitnet"
