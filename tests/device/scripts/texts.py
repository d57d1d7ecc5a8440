# Prints the text of each token in hex, as one JSON list. Usage: texts.py <model>

import json
import sys

from bitnet.model import Model
from bitnet.tokenizer import Tokenizer

model = Model(sys.argv[1])
tokenizer = Tokenizer(model.data, model.tokenizer[0], model.tokenizer[1])
print(json.dumps([tokenizer.text(token).hex() for token in range(tokenizer.token_count)]))
