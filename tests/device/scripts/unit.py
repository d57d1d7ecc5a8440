# A unit without AT commands. Arguments: its folder for files, the JSON of its configuration, which of the
# functions below to run, and what that takes.

import json
import sys

import bitnet.storage
import bitnet.unit
from bitnet import uptime
from bitnet.fallback import SYNC, FallbackError
from bitnet.unit import Unit


class Configuration:
    def __init__(self, constants):
        for name, value in constants.items():
            setattr(self, name, value)


def start():
    """Print whether the unit has sync, and the reasons and texts of its log."""
    unit = Unit()
    print(json.dumps([unit.sync is not None] + [entry[1:] for entry in unit.log.entries()]))


def change_model(*paths):
    """Print what answers when a model has not: each model is loaded after the one before."""
    unit = Unit()
    for path in paths:
        unit.load(path, 0)
        for threshold in (1001, 0, 1001):
            unit.responder.threshold = threshold
            print(json.dumps(unit.infer(b"lights on").answer.source))


class Time:
    """Stands in for time. Its ticks_ms() has 30 bits, as on a board."""

    def __init__(self):
        self.ticks = 0

    def pass_ms(self, milliseconds):
        self.ticks = (self.ticks + milliseconds) & 0x3FFFFFFF

    def ticks_ms(self):
        return self.ticks

    def ticks_diff(self, later, earlier):
        return ((later - earlier + 0x20000000) & 0x3FFFFFFF) - 0x20000000


time = Time()


def idle(*hours):
    """Let hours pass without a look at the clock; print the uptime after each such time."""
    for idle in hours:
        time.pass_ms(int(idle) * 3_600_000)
        print(json.dumps(uptime.seconds()))


def faults(path):
    """Print the faults that are stored while a missing model is asked each second, and then an unsure one."""
    unit = Unit()
    unit.responder.modes |= SYNC
    for second in range(4000):
        time.pass_ms(1000)
        if second == 3800:
            unit.load(path, 0)
            unit.responder.threshold = 1001
        try:
            unit.infer(b"lights on")
        except FallbackError:
            pass
    queue = unit.sync.queue
    for number in range(queue.first, queue.next):
        record = json.loads(queue.peek(number))
        print(json.dumps([record["reason"], record["uptime"], record["left_out"]]))


class Machine:
    def freq(self):
        return 125_000_000


def energy(model):
    """Print for some phrases how many tokens were fed, and what the meter was told except the time."""
    sys.modules["bitnet_board"] = Configuration({"POWER": {"picojoules_per_cycle": 750}})
    bitnet.unit.machine = Machine()
    unit = Unit()
    unit.load(model, 0)
    fed = told = None
    feed = unit.session.model.feed

    def count(tokens, number):
        nonlocal fed
        fed += number
        feed(tokens, number)

    def tell(tokens, latency_ms, hertz):
        nonlocal told
        told = [tokens, hertz]

    unit.session.model.feed = count
    unit.meter.end = tell
    for phrase in (b"lights on", b"set the kitchen to 21 degrees"):
        fed = 0
        unit.infer(phrase)
        print(json.dumps([[fed, 125_000_000], told]))


uptime.time = time
uptime._ticks = 0
bitnet.storage.FOLDER = sys.argv[1]
sys.modules["bitnet_config"] = Configuration(json.loads(sys.argv[2]))
globals()[sys.argv[3]](*sys.argv[4:])
