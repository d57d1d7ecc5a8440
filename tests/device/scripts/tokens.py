# Encodes each line of input, a text in hex; prints [[[token, start, marks], ...], length] as JSON.
# Usage: tokens.py <model> <capacity>

import json
import sys

from bitnet.model import Model
from bitnet.tokenizer import Tokenizer

model = Model(sys.argv[1])
tokenizer = Tokenizer(model.data, model.tokenizer[0], model.tokenizer[1], int(sys.argv[2]))
while True:
    line = sys.stdin.readline()
    if not line:
        break
    n = tokenizer.encode(bytes.fromhex(line.strip()))
    tokens = [[tokenizer.tokens[k], tokenizer.starts[k], tokenizer.marks[k]] for k in range(n)]
    print(json.dumps([tokens, tokenizer.starts[n]]))
