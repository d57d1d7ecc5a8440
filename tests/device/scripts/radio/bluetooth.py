# Stands in for MicroPython's bluetooth, which is missing on a PC. It plays the events that it reads, one line
# of JSON for those that come at once, and writes what is sent. There is no radio and no stack: what is tested
# is what at/ble.py makes of the events. They come from standard input, or from the port of the PC that the
# environment's RADIO names.
import asyncio
import json
import os
import select
import socket
import sys


class UUID:
    def __init__(self, text):
        self.text = text


class BLE:
    def active(self, on):
        self.value = b""
        self.input, self.output = sys.stdin.buffer, sys.stdout.buffer
        port = os.getenv("RADIO")
        if port:
            self.input = self.output = socket.socket()
            self.input.connect(socket.getaddrinfo("127.0.0.1", int(port))[0][-1])

    def irq(self, handler):
        self.handler = handler
        self.task = asyncio.create_task(self.play())

    def gatts_register_services(self, services):
        ((_, characteristics),) = services
        self.show(["service", [[uuid.text[:8], flags] for uuid, flags in characteristics]])
        return ((1, 2),)

    def gatts_set_buffer(self, handle, size, append):
        self.size = size

    def gap_advertise(self, interval, adv_data):
        self.show(["advertise", str(adv_data[5:], "utf-8")])

    def gatts_read(self, handle):
        value, self.value = self.value, b""
        return value

    def gatts_notify(self, client, handle, data):
        self.show(["notify", client, data.hex()])

    async def play(self):
        # With a poll of its own: the PC's crashes where a ThreadSafeFlag is among more than four files.
        poll = select.poll()
        poll.register(self.input, select.POLLIN)
        while True:
            while not poll.poll(0):
                await asyncio.sleep_ms(1)
            line = self.input.readline()
            if not line:
                return
            for event, data in json.loads(line):
                if event == "sleep":
                    await asyncio.sleep_ms(data)
                    continue
                if event == 3:
                    self.value = (self.value + bytes.fromhex(data))[: self.size]
                self.handler(event, tuple(data) if event != 3 else (5, 2))
            await asyncio.sleep_ms(20)

    def show(self, event):
        self.output.write(json.dumps(event).encode() + b"\n")
