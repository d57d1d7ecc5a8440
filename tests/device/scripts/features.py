# Feeds readings to features. First line of input: definitions; each further one: [channel, value, ms].
# Prints after each [[name, value, token text]...] and the tokens, as JSON. The clock wraps on the way.

import json
import sys
import time

from bitnet.features import Features

before_the_wrap = time.ticks_add(0, -100_000)
features = Features(json.loads(sys.stdin.readline()))
for line in sys.stdin:
    channel, value, ms = json.loads(line)
    features.push(channel, value, time.ticks_add(before_the_wrap, ms))
    print(json.dumps([list(features.describe()), list(features.tokens())]))
