# One reply with the weights in each place; prints the state's size, the best tokens and their probabilities.
import json
import sys
from array import array

from bitnet import ModelError, load

tokens, permille = array("H", bytes(8)), array("H", bytes(8))
for placement in ("in_place", "copied", "streamed"):
    model = load(sys.argv[1], placement=placement)
    best = []
    for fed in ([1, 2, 3], [4], [5, 6]):
        model.feed(array("H", fed), len(fed))
        count = model.top_k(bytearray(b"\xff" * ((model.vocab_size + 7) // 8)), tokens, permille, 4)
        best.append([list(tokens)[:count], list(permille)[:count]])
    print(json.dumps([placement, len(model._state), best]))
    model.close()
try:
    load(sys.argv[1], placement="elsewhere")
except ModelError as error:
    print(json.dumps(str(error)))
