# Answers each line of input, a phrase; prints [intent, confidence, slots, prompt tokens] as JSON. First comes
# the heap that the session takes. Usage: session.py <model> <window>

import gc
import json
import sys

from bitnet import Model, Session


def free() -> int:
    gc.collect()
    gc.collect()
    return gc.mem_free()


model = Model(sys.argv[1], int(sys.argv[2]))
before = free()
session = Session(model)
print(json.dumps(before - free()))
while True:
    line = sys.stdin.readline()
    if not line:
        break
    answer = session.infer(line.strip())
    print(json.dumps([answer.intent, answer.confidence, answer.slots, answer.prompt_tokens]))
