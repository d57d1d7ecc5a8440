# Prints the number of groups of each pattern or, as a string, why a rule may not have it.

import json
import re
import sys

from bitnet.patterns import check

for line in sys.stdin:
    pattern = json.loads(line)
    try:
        answer = check(pattern)
        re.compile(pattern)
    except ValueError as error:
        answer = str(error)
    print(json.dumps(answer))
