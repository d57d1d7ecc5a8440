# Answers many phrases without AT commands in between, to measure accuracy.
#
# A line of input is a JSON list of a phrase and the tokens of its features. A line of output is a JSON list
# of the fields of the Answer, or a fault as a JSON string.

import json
import sys
from array import array

from bitnet import ModelError, Session, load


def serve() -> None:
    try:
        session = Session(load())
    except ModelError as error:
        print(json.dumps(str(error)))
        return
    print(json.dumps("ready"))
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        try:
            text, features = json.loads(line)
            print(json.dumps(list(session.infer(text, array("H", features)))))
        except (ValueError, ModelError) as error:
            print(json.dumps(str(error)))


serve()
