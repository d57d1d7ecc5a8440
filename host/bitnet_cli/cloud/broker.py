"""Where an MQTT broker is: its address, as config.toml and the command line have it."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from ..errors import BitnetError

PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True)
class Broker:
    """The address of a broker, and how to log in."""

    host: str
    port: int
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    """Certificate of the broker's authority; None for the authorities that the system trusts."""


def parse_broker(url: str, ca: Path | None = None) -> Broker:
    """Parse mqtt[s]://[user[:password]@]host[:port], with %40 for an @ in user or password, and so on.

    Raises BitnetError on anything else.
    """
    try:
        if not url.isprintable():
            raise ValueError("it has what cannot be typed")
        parts = urlsplit(url)
        port = parts.port
        user, password = (_unquoted(part) for part in (parts.username, parts.password))
    except ValueError as error:
        raise BitnetError(f"{url!r}: not the address of a broker: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise BitnetError(f"{url}: a broker is mqtt://host:port, or mqtts://host:port for TLS")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise BitnetError(f"{url}: nothing follows the host and port of a broker")
    if password and not user:
        raise BitnetError(f"{url}: a broker takes a password only with a user: mqtt://user:password@host")
    tls = parts.scheme == "mqtts"
    if ca is not None and not tls:
        raise BitnetError(f"{url}: a certificate needs TLS: mqtts://…")
    return Broker(parts.hostname, port or PORTS[parts.scheme], tls, user, password, ca)


def _unquoted(part: str | None) -> str | None:
    """Decode a part of an address; None if it is empty. Raises ValueError if it is not UTF-8."""
    text = unquote_to_bytes(part or "").decode()
    return text or None
