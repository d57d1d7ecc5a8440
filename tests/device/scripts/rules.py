# Prints [intent, slots, skipped lines] or [skipped lines] for each phrase, given in hexadecimal.
# Usage: rules.py <default rules> <user's rules>

import binascii
import json
import sys

from bitnet.rules import Rules

rules = Rules(sys.argv[1], sys.argv[2])
for line in sys.stdin:
    found = rules.match(binascii.unhexlify(line.strip()))
    print(json.dumps(list(found or ()) + [rules.skipped]))  # noqa: RUF005 (MicroPython has no [*x])
