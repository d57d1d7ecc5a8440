# A request with a deadline that passes, between two without. Argument: the model.
import json
import sys

from bitnet import DeadlineError, Session, load

session = Session(load(sys.argv[1]))


def answer():
    got = session.infer("set the kitchen to 21 degrees")
    return [got.intent, got.confidence, got.slots]


print(json.dumps(answer()))
try:
    session.infer("set the kitchen to 21 degrees" + 100 * " x", deadline_ms=1)
    print(json.dumps("no deadline"))
except DeadlineError as error:
    print(json.dumps(str(error)))
print(json.dumps(answer()))
