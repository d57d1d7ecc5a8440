# AT commands over Bluetooth Low Energy, by the Nordic UART Service: one client at a time. Nobody has to pair.

import asyncio

import bluetooth
from micropython import const

_CONNECTED = const(1)  # _IRQ_CENTRAL_CONNECT and so on
_DISCONNECTED = const(2)
_WRITTEN = const(3)
_MTU_EXCHANGED = const(21)
_WRITE = const(0x0008 | 0x0004)  # with and without response
_NOTIFY = const(0x0010)
_SERVICE = "6E400001-B5A3-F393-E0A9-E50E24DCCA9E"
_TO_UNIT = "6E400002-B5A3-F393-E0A9-E50E24DCCA9E"
_FROM_UNIT = "6E400003-B5A3-F393-E0A9-E50E24DCCA9E"

_BUFFER = const(512)  # bytes that wait to be read; what comes on top of them is lost
_LEAST_MTU = const(23)
_HEADER = const(3)  # bytes of a packet that are not ours
_ADVERTISE_US = const(250000)
_RETRY_MS = const(10)


async def serve(service, name: str) -> None:
    """Advertise under a name, and serve whoever connects."""
    stream = _Stream(name.encode())
    while True:
        await stream.wait_for_client()
        await service.serve(stream, stream)


class _Stream:
    """Reader and writer in one, for one client after the other."""

    def __init__(self, name: bytes) -> None:
        self._ble = bluetooth.BLE()
        self._changed = asyncio.ThreadSafeFlag()
        self._client: int | None = None
        self._connections = 0
        self._served = 0  # of them: the one that is, or was
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
        while self._client is None:
            await self._changed.wait()
        self._served = self._connections
        self._to_send = bytearray()
        self._ble.gatts_read(self._to_unit)  # what the one before has left

    def _present(self) -> int | None:
        """The client that is served, if another has not come meanwhile."""
        return self._client if self._served == self._connections else None

    async def read(self, most: int) -> bytes:
        """What has come, which may be more than `most` bytes; nothing when the client has gone."""
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
            except OSError:  # no room for it in the stack yet
                await asyncio.sleep_ms(_RETRY_MS)
                continue
            self._to_send = self._to_send[size:]
        await asyncio.sleep_ms(0)
