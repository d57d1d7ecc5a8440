# Prints how much heap 20,000 readings take for good, and what a feature takes (on 64 bits), as JSON.
# A line of input: definitions.

import gc
import json
import sys

from bitnet.features import Features


def free() -> int:
    gc.collect()
    gc.collect()
    return gc.mem_free()


definitions = json.loads(sys.stdin.readline())
before = free()
features = Features(definitions)
size = before - free()
for i in range(100):
    features.push("ab"[i & 1], i, 100 * i)
features.tokens()
before = free()
for i in range(100, 20_000):
    features.push("ab"[i & 1], i % 4000, 100 * i)
features.tokens()
print(json.dumps([before - free(), size // len(definitions)]))
