# PSRAM on pins of an RP2040: what a board needs only for a model whose layers are in a file of their own.

from .chip import Psram, PsramError

__all__ = ("Psram", "PsramError")
