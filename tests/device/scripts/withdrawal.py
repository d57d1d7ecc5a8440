# Consent withdrawn by AT+SYNC=0 while the queue's flash fails. Prints the final result code and what is kept.
import json

from bitnet.at import table


class Flash:
    """A unit's sync, channel and service, as far as the command needs them."""

    consent = True
    kept = None

    def __init__(self):
        self.unit = self.sync = self.service = self

    def withdraw(self):
        self.consent = False
        raise OSError(5)

    def keep(self, setting, channel):
        self.kept = setting.current(channel)


flash = Flash()
handler, values = table.find("+SYNC").handler(3, (0,))
try:
    handler(flash, *values)
except OSError as error:
    print(json.dumps([error.errno, flash.kept]))
