# The layers of a model that is split into two files: in PSRAM on pins, which is empty after power-up.

from .. import watchdog
from ..model import MODEL_FOLDERS, ModelError
from .chip import Psram, PsramError

_CHUNK = 4096


def open_psram(pins: dict) -> Psram:
    """The board's chip; raises ModelError if it does not answer."""
    try:
        return Psram(**pins)
    except (PsramError, OSError, ValueError) as error:
        raise ModelError(f"PSRAM for the model's layers: {error}") from None


def copy(model_path: str, psram: Psram) -> None:
    """Fill PSRAM from the .layers file of a .bitnet file. Raises ModelError if there is none, or no room."""
    buffer = memoryview(bytearray(_CHUNK))
    with _open(model_path) as file:
        address = 0
        while size := file.readinto(buffer):
            try:
                psram.write(address, buffer[:size])
            except PsramError as error:
                raise ModelError(f"{model_path}: its layers: {error}") from None
            address += size
            watchdog.feed()


def _open(model_path: str):
    """The .layers file: beside the model, or where models are."""
    parent, name = _split(model_path)
    name = name.rsplit(".", 1)[0] + ".layers"
    for folder in (parent,) + MODEL_FOLDERS:  # noqa: RUF005 (MicroPython has no unpacking there)
        try:
            return open(folder.rstrip("/") + "/" + name if folder else name, "rb")
        except OSError:
            pass
    raise ModelError(
        f"{model_path}: PSRAM does not hold its layers, and there is no {name}: copy it to the board"
    )


def _split(path: str) -> tuple:
    at = path.rfind("/")
    return path[: at + 1], path[at + 1 :]
