"""Where the device package, the native sources and the stock model lie: in the wheel or in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def _room(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _CHECKOUT / name


DEVICE = _room("device")
NATIVE = _room("native")
STOCK_MODEL = DEVICE / "models" / "home.bitnet"
