# Prints [intent, slots, skipped lines] or [skipped lines] for each phrase, given in hexadecimal.
# Usage: rules.py <default rules> <user's rules> [bytes of stack that are left]

import binascii
import json
import sys

import micropython
from bitnet.rules import Rules

rules = Rules(sys.argv[1], sys.argv[2])


def deepest(depth: int) -> int:
    """Return how much stack is in use when it is used up."""
    try:
        return deepest(depth + 1)
    except RuntimeError:
        return micropython.stack_use()


def answer(phrase: bytes, stack: int) -> None:
    """Print the answer to a phrase, asked when at least so much of the stack is in use."""
    if stack and micropython.stack_use() < stack:
        answer(phrase, stack)
        return
    found = rules.match(phrase)
    print(json.dumps(list(found or ()) + [rules.skipped]))  # noqa: RUF005 (MicroPython has no [*x])


stack = deepest(0) - int(sys.argv[3]) if len(sys.argv) > 3 else 0
for line in sys.stdin:
    answer(binascii.unhexlify(line.strip()), stack)
