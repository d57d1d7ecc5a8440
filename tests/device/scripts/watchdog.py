# The watchdog on a made-up chip. Arguments: which chip, "esp32" or "bare"; the cause of its last reset,
# "hung", "stuck" (while no command ran) or "power". Prints whether the last command is taken to have hung;
# how often the hardware was started and fed before anything runs, and after; whether the RTC has the mark
# during a command, and after it.

import asyncio
import json
import sys

BUSY = b"YBNB"


class Rtc:
    data = BUSY if sys.argv[2] == "hung" else b""

    def memory(self, data=None):
        if data is None:
            return Rtc.data
        Rtc.data = data


class Wdt:
    made = fed = 0

    def __init__(self, timeout):
        Wdt.made += 1

    def feed(self):
        Wdt.fed += 1


class Machine:
    WDT = Wdt
    WDT_RESET = 3

    def reset_cause(self):
        return 1 if sys.argv[2] == "power" else 3


machine = sys.modules["machine"] = Machine()
if sys.argv[1] == "esp32":
    machine.RTC = Rtc

from bitnet import watchdog  # noqa: E402


async def run(dog):
    task = asyncio.create_task(dog.run())
    await asyncio.sleep_ms(0)
    task.cancel()


dog = watchdog.Watchdog(8000)
watchdog.feed()
before = [Wdt.made, Wdt.fed]
asyncio.run(run(dog))
watchdog.feed()
after = [Wdt.made, Wdt.fed]
dog.begin()
busy = Rtc.data == BUSY
dog.end()
print(json.dumps([dog.was_hung, before, after, [busy, Rtc.data == BUSY]]))
