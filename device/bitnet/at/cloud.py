# Handlers of the command for cloud sync.

from . import parser
from .command import information
from .parser import AtError


def consent(unit) -> tuple:
    """Says whether the user agrees that phrases are stored and sent; kept at once, and left by `ATZ` and
    `AT&F`. Running it tells how many records wait, how many were dropped, whether the broker is connected,
    and the last error; the same comes unasked when a connection begins or ends.

    AT+SYNC=1
    AT+SYNC?
    AT+SYNC
    """
    sync = unit.sync
    return (1 if sync and sync.consent else 0,)


def set_consent(unit, given: int) -> None:
    sync = unit.sync
    if sync is None:
        if given:
            raise AtError(parser.NOT_SUPPORTED, "no broker is configured")
    elif given:
        sync.consent = True
    else:
        sync.withdraw()


def state(channel) -> tuple:
    sync = channel.unit.sync
    if sync is None:
        raise AtError(parser.NOT_SUPPORTED, "no broker is configured")
    return (state_line(sync),)


def state_line(sync) -> bytes:
    """Return what clients are told of a unit's Sync, asked or unasked."""
    queue = sync.queue
    return information("+SYNC", queue.depth, queue.drops, int(sync.connected), sync.last_error)
