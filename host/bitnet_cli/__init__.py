"""The PC side of bitnet-cli, as a library: what works without the extras of training and boards.

Functions return values and raise BitnetError; only `bitnet_cli.commands` prints and exits.
"""

from importlib.metadata import version

from .boards.at import Answer, AtClient
from .emulation.simulator import SimulatedBoard, infer_many
from .errors import BitnetError
from .model.modelfile import ModelFile
from .model.modelfile import read as read_model
from .model.oracle import Oracle
from .phrases.phrases import Phrase, read_phrases

__version__ = version("bitnet-cli")
__all__ = [
    "Answer",
    "AtClient",
    "BitnetError",
    "ModelFile",
    "Oracle",
    "Phrase",
    "SimulatedBoard",
    "infer_many",
    "read_model",
    "read_phrases",
]
