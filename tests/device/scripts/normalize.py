# Prints each phrase, given in hexadecimal, as rules see it, and the places of its bytes.

import binascii
import json
import sys

from bitnet.rules import normalize

for line in sys.stdin:
    phrase, places = normalize(binascii.unhexlify(line.strip()))
    print(json.dumps([str(binascii.hexlify(phrase), "ascii"), list(places)]))
