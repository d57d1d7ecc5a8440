# AT over UART: answers AT commands on GPIO 0 (TX) and 1 (RX), for a host that has no USB.

import asyncio

import machine
from bitnet.unit import Unit

unit = Unit()  # before other imports: the model needs a large piece of the heap

from bitnet.at import Service  # noqa: E402

uart = machine.UART(0, baudrate=115200, tx=machine.Pin(0), rx=machine.Pin(1), rxbuf=512)
stream = asyncio.StreamReader(uart), asyncio.StreamWriter(uart, {})
asyncio.run(Service(unit).run([stream]))
