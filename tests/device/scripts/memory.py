# Prints the heap each part takes, and what is free before and after 500 inferences, as a JSON object.
# Usage: memory.py <model>

import gc
import json
import sys

from bitnet import Model, Session
from bitnet.tokenizer import Tokenizer


def free() -> int:
    gc.collect()
    gc.collect()
    return gc.mem_free()


taken = {}
before = free()
model = Model(sys.argv[1])
taken["model"] = before - free()
before = free()
tokenizer = Tokenizer(model.data, model.tokenizer[0], model.tokenizer[1])
tokenizer.encode(b"Set the kitchen to 21 degrees")
taken["tokenizer"] = before - free()
del tokenizer
before = free()
session = Session(model)
taken["session"] = before - free()

phrases = ("What's the temp?", "Set the kitchen to 21 degrees", "x" * 255, "1" * 100, "")
for phrase in phrases:
    session.infer(phrase)
taken["before"] = free()
for i in range(500):
    session.infer(phrases[i % len(phrases)])
taken["after"] = free()

# Without the collector: what one inference leaves behind is its answer, and nothing for each token.
gc.disable()
for phrase in phrases[1:3]:
    before = gc.mem_free()
    session.infer(phrase)
    taken[f"answer {len(phrase)}"] = before - gc.mem_free()
print(json.dumps(taken))
