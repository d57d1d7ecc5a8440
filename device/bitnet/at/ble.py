# AT commands over Bluetooth Low Energy, by the Nordic UART Service: one client at a time, without pairing.

import asyncio

import bluetooth
from micropython import const

_CONNECTED = const(1)  # MicroPython's _IRQ_CENTRAL_CONNECT, and so on
_DISCONNECTED = const(2)
_WRITTEN = const(3)
_MTU_EXCHANGED = const(21)
_WRITE = const(0x0008 | 0x0004)  # with and without response
_NOTIFY = const(0x0010)
_SERVICE = "6E400001-B5A3-F393-E0A9-E50E24DCCA9E"
_TO_UNIT = "6E400002-B5A3-F393-E0A9-E50E24DCCA9E"
_FROM_UNIT = "6E400003-B5A3-F393-E0A9-E50E24DCCA9E"

_BUFFER = const(512)  # for bytes that wait to be read; more are lost
_LEAST_MTU = const(23)
_HEADER = const(3)  # bytes of a packet that the protocol takes
_ADVERTISE_US = const(250000)
_RETRY_MS = const(10)


async def serve(service, name: str) -> None:
    """Advertise under a name, and serve whoever connects, one after the other."""
    stream = _Stream(name.encode())
    while True:
        await stream.wait_for_client()
        await service.serve(stream, stream)


class _Stream:
    """A reader and a writer in one, for one client after the other."""

    def __init__(self, name: bytes) -> None:
        self._ble = bluetooth.BLE()
        self._changed = asyncio.ThreadSafeFlag()
        self._client: int | None = None
        self._connections = 0
        self._served = 0  # the number of the connection that is served, or was served last
        self._mtu = _LEAST_MTU
        self._to_send = bytearray()
        self._advertisement = b"\x02\x01\x06" + bytes((len(name) + 1, 9)) + name
        self._ble.active(True)
        self._ble.irq(self._on_event)
        characteristics = (bluetooth.UUID(_FROM_UNIT), _NOTIFY), (bluetooth.UUID(_TO_UNIT), _WRITE)
        services = ((bluetooth.UUID(_SERVICE), characteristics),)
        ((self._from_unit, self._to_unit),) = self._ble.gatts_register_services(services)
        self._ble.gatts_set_buffer(self._to_unit, _BUFFER, True)
        self._advertise()

    def _advertise(self) -> None:
        self._ble.gap_advertise(_ADVERTISE_US, adv_data=self._advertisement)

    def _on_event(self, event: int, data: tuple) -> None:
        if event == _CONNECTED:
            self._client = data[0]
            self._connections += 1
            self._mtu = _LEAST_MTU
        elif event == _DISCONNECTED:
            self._client = None
            self._advertise()
        elif event == _MTU_EXCHANGED:
            self._mtu = data[1]
            return
        elif event != _WRITTEN:
            return
        self._changed.set()

    async def wait_for_client(self) -> None:
        """Wait until a client has connected, and drop what the one before has left."""
        while self._client is None:
            await self._changed.wait()
        self._served = self._connections
        self._to_send = bytearray()
        self._ble.gatts_read(self._to_unit)

    def _present(self) -> int | None:
        """Return the client that is served, or None if it has gone, even if another has come since."""
        return self._client if self._served == self._connections else None

    async def read(self, most: int) -> bytes:
        """Return what has come, which may be more than `most` bytes; nothing if the client has gone."""
        while self._present() is not None:
            data = self._ble.gatts_read(self._to_unit)
            if data:
                return data
            await self._changed.wait()
        return b""

    def write(self, data: bytes) -> None:
        self._to_send += data

    async def drain(self) -> None:
        """Send what was written, in packets as large as the client takes. Raises OSError if it has gone."""
        size = self._mtu - _HEADER
        while self._to_send:
            client = self._present()
            if client is None:
                raise OSError("the client has gone")
            try:
                self._ble.gatts_notify(client, self._from_unit, bytes(self._to_send[:size]))
            except OSError:  # the radio has no room for it yet
                await asyncio.sleep_ms(_RETRY_MS)
                continue
            self._to_send = self._to_send[size:]
        await asyncio.sleep_ms(0)
