# Adds and removes the user's rules: ["add", line] or ["remove", number] a line, in JSON.
# Prints after each the reason for a refusal, or null, and the lines.
# Usage: edit_rules.py <user's rules>

import json
import sys

from bitnet.rules import Rules

rules = Rules("", sys.argv[1])
for line in sys.stdin:
    what, argument = json.loads(line)
    reason = None
    try:
        getattr(rules, what)(argument)
    except ValueError as error:
        reason = str(error)
    print(json.dumps([reason] + [str(line, "utf-8") for line in rules.lines()]))
