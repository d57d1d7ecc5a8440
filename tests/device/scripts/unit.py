# A unit without AT commands. Arguments: its folder for files, the JSON of its configuration, which of the
# functions below to run, and what that takes.

import json
import sys

import bitnet.storage
from bitnet.unit import Unit


class Configuration:
    def __init__(self, constants):
        for name, value in constants.items():
            setattr(self, name, value)


def start():
    """Prints whether it has sync, and the reasons and texts of its log."""
    unit = Unit()
    print(json.dumps([unit.sync is not None] + [entry[1:] for entry in unit.log.entries()]))


def change_model(*paths):
    """Prints what answers when each model, loaded after the one before, has given no answer."""
    unit = Unit()
    for path in paths:
        unit.load(path, 0)
        for threshold in (1001, 0, 1001):
            unit.responder.threshold = threshold
            print(json.dumps(unit.infer(b"lights on").answer.source))


bitnet.storage.FOLDER = sys.argv[1]
sys.modules["bitnet_config"] = Configuration(json.loads(sys.argv[2]))
globals()[sys.argv[3]](*sys.argv[4:])
