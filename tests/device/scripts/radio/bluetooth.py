# Stands in for MicroPython's bluetooth, which the PC's port has not: plays the events that stand in the
# standard input, one a line as JSON, and prints what is sent. No radio, no stack: what is tested is what
# at/ble.py makes of the events.
import asyncio
import json
import sys


class UUID:
    def __init__(self, text):
        self.text = text


class BLE:
    def active(self, on):
        self.value = b""

    def irq(self, handler):
        self.handler = handler
        self.task = asyncio.create_task(self.play())

    def gatts_register_services(self, services):
        ((_, characteristics),) = services
        show(["service", [[uuid.text[:8], flags] for uuid, flags in characteristics]])
        return ((1, 2),)

    def gatts_set_buffer(self, handle, size, append):
        self.size = size

    def gap_advertise(self, interval, adv_data):
        show(["advertise", str(adv_data[5:], "utf-8")])

    def gatts_read(self, handle):
        value, self.value = self.value, b""
        return value

    def gatts_notify(self, client, handle, data):
        show(["notify", client, str(data, "utf-8")])

    async def play(self):
        reader = asyncio.StreamReader(sys.stdin.buffer)
        while True:
            line = await reader.readline()
            if not line:
                return
            event, data = json.loads(line)
            if event == "sleep":
                await asyncio.sleep_ms(data)
                continue
            if event == 3:
                self.value = (self.value + data.encode())[: self.size]
            self.handler(event, tuple(data) if event != 3 else (5, 2))
            await asyncio.sleep_ms(20)


def show(event):
    print(json.dumps(event))
