# 1-bit language models on MicroPython: `Session(load()).infer("What's the temp?")`.
#
# pyproject.toml reads the version of the PC's package from this file, too.

from .model import DeadlineError, Model, ModelError, load
from .session import Answer, Session

__version__ = "0.1.0"
__all__ = ("Answer", "DeadlineError", "Model", "ModelError", "Session", "load")
