# The AT service over BLE. Argument: the model.
import asyncio
import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/radio")

from bitnet.at import Service, ble
from bitnet.unit import Unit


async def run():
    unit = Unit()
    unit.load(sys.argv[1], 0)
    service = Service(unit)
    await asyncio.wait_for(service.run([], [ble.serve(service, "bitnet")]), 3)


try:
    asyncio.run(run())
except asyncio.TimeoutError:
    pass
