# Records that wait on flash for an MQTT broker: what a unit needs only if its config.toml has [sync].

from .mqtt import connector
from .queue import Queue
from .sync import Sync

__all__ = ("Queue", "Sync", "connector")
