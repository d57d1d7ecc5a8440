# The layers of a model that is split into two files. They are in PSRAM, which is empty after power-up.

from .. import watchdog
from .chip import Psram, PsramError

_CHUNK = 4096


def open_psram(pins: dict) -> Psram:
    """Return the board's chip. Raises PsramError if it does not answer, or its pins cannot be used."""
    try:
        return Psram(**pins)
    except (PsramError, OSError, ValueError) as error:
        raise PsramError(f"PSRAM for the model's layers: {error}") from None


def copy(model_path: str, folders: tuple, psram: Psram) -> None:
    """Fill PSRAM from the .layers file beside a .bitnet file or, if it is not there, in one of the folders.

    Raises PsramError if there is none, or if PSRAM is too small for it.
    """
    buffer = memoryview(bytearray(_CHUNK))
    with _open(model_path, folders) as file:
        address = 0
        while size := file.readinto(buffer):
            try:
                psram.write(address, buffer[:size])
            except PsramError as error:
                raise PsramError(f"{model_path}: its layers: {error}") from None
            address += size
            watchdog.feed()


def _open(model_path: str, folders: tuple):
    parent, name = _split(model_path)
    name = name.rsplit(".", 1)[0] + ".layers"
    for folder in (parent,) + folders:  # noqa: RUF005 (MicroPython has no unpacking there)
        try:
            return open(folder.rstrip("/") + "/" + name if folder else name, "rb")
        except OSError:
            pass
    raise PsramError(
        f"{model_path}: PSRAM does not hold its layers, and there is no {name}: copy it to the board"
    )


def _split(path: str) -> tuple:
    at = path.rfind("/")
    return path[: at + 1], path[at + 1 :]
