# Prints why a model cannot be loaded, as a JSON string. Usage: load.py <model>

import json
import sys

from bitnet import ModelError, load

try:
    load(sys.argv[1])
    print(json.dumps("loaded"))
except ModelError as error:
    print(json.dumps(str(error)))
