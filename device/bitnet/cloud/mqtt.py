# As much of MQTT 3.1.1 as a publisher with QoS 1 needs, on asyncio streams, so that the AT service goes on.
#
# micropython-lib's umqtt.simple blocks until an acknowledgement has come, or for ever if the broker does not
# answer, and commands would have to wait for that.

import asyncio
import struct

from micropython import const

CONNACK = const(0x20)
PUBACK = const(0x40)
PINGRESP = const(0xD0)
_CONNECT = const(0x10)
_PUBLISH = const(0x32)  # QoS 1
_DUP = const(0x08)
_PINGREQ = b"\xc0\x00"
_DISCONNECT = b"\xe0\x00"
_PASSWORD = const(0x40)
_USER = const(0x80)
_LARGEST = const(256)  # bytes of a packet; what a publisher is sent is smaller
_REFUSALS = ("", "protocol version", "client id", "server unavailable", "user or password", "not authorised")


class MqttError(Exception):
    """The broker refuses the unit, or does not keep to MQTT; the text says which."""


def connector(host: str, port: int = 0, ca: str | None = None):
    """Make a function that connects to a broker, for Sync.

    port: 0 for MQTT's own. ca: a file with the certificate of the broker's authority, in DER; with it the
    connection is by TLS. Where MicroPython checks the certificate's dates, the clock must have been set.
    Looking up a name blocks, so give an address where a name server may be down.
    """

    async def connect() -> tuple:
        if ca is None:
            return await asyncio.open_connection(host, port or 1883)
        return await asyncio.open_connection(host, port or 8883, ssl=_tls(ca), server_hostname=host)

    return connect


def _tls(ca: str):
    import ssl  # noqa: PLC0415 (not on every board)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    with open(ca, "rb") as file:
        context.load_verify_locations(cadata=file.read())
    return context


class Link:
    """A client's connection to a broker."""

    def __init__(self, reader, writer) -> None:
        self._reader = reader
        self._writer = writer

    async def connect(self, client_id: str, keepalive: int, user: str | None, password: str | None) -> None:
        """Introduce the client. keepalive: seconds. Raises MqttError with the reason if it is refused."""
        # The session is not a clean one, so the broker knows a message that is sent again.
        flags = (0 if user is None else _USER) | (0 if password is None else _PASSWORD)
        body = _string("MQTT") + struct.pack(">BBH", 4, flags, keepalive) + _string(client_id)
        for text in (user, password):
            if text is not None:
                body += _string(text)
        await self._send(_CONNECT, len(body), body)
        kind, code = await self.receive()
        if kind != CONNACK:
            raise MqttError("the broker does not speak MQTT 3.1.1")
        if code & 0xFF:
            raise MqttError("refused: " + _REFUSALS[min(code & 0xFF, len(_REFUSALS) - 1)])

    async def publish(self, topic: str, payload: bytes, packet_id: int, again: bool) -> None:
        """Send a message, which the broker acknowledges by PUBACK. again: whether it may have it already."""
        head = _string(topic) + struct.pack(">H", packet_id)
        kind = _PUBLISH | _DUP if again else _PUBLISH
        await self._send(kind, len(head) + len(payload), head, payload)

    async def ping(self) -> None:
        """Show the broker that the unit is there."""
        self._writer.write(_PINGREQ)
        await self._writer.drain()

    async def receive(self) -> tuple:
        """Wait for a packet; return its kind and number: a PUBACK's packet id, a CONNACK's flags and code."""
        kind = (await self._reader.readexactly(1))[0]
        length = await self._length()
        if length > _LARGEST:
            raise MqttError("the broker sent a packet that a publisher is not sent")
        body = await self._reader.readexactly(length) if length else b""
        return kind & 0xF0, struct.unpack(">H", body)[0] if length == 2 else 0

    async def close(self) -> None:
        """Take leave of the broker, and close the connection."""
        try:
            self._writer.write(_DISCONNECT)
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            pass

    async def _length(self) -> int:
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return length
            shift += 7
            if shift > 21:
                raise MqttError("the broker does not speak MQTT")

    async def _send(self, kind: int, length: int, *parts: bytes) -> None:
        self._writer.write(_header(kind, length))
        for part in parts:
            self._writer.write(part)
        await self._writer.drain()


def _header(kind: int, length: int) -> bytes:
    header = bytearray((kind,))
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
