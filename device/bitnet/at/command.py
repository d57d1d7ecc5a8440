# Rows of the command table. Handlers get the channel and the parameters, and return or yield lines to send;
# those of settings get the holder of the values instead of the channel.

from .parser import NOT_SUPPORTED, READ, RUN, SET, TEST, AtError, SyntaxFault, escape


class Command:
    """A command and the forms it has. The test form describes `params`, the parameters of the set form.

    A slow command's handler is a generator; between its lines other channels are served. It yields None to
    let them be served although it has no line yet.
    """

    is_slow = False

    def __init__(self, name: str, params=(), run=None, read=None, set=None, slow: bool = False) -> None:
        self.name = name
        self.params = params
        self._run = run
        self._read = read
        self._set = set
        self.is_slow = slow

    def handler(self, form: int, arguments: tuple) -> tuple:
        """Return what to call for a form, and the parameters for it. Raises SyntaxFault or AtError."""
        if form == TEST:
            return self._describe, ()
        handler = self._set if form == SET else self._read if form == READ else self._run
        if handler is None:
            raise AtError(NOT_SUPPORTED)
        return handler, self.values(arguments) if form == SET else ()

    def values(self, arguments: tuple) -> list:
        """Convert arguments to what the parameters ask for. Raises SyntaxFault."""
        if len(arguments) > len(self.params):
            raise SyntaxFault
        given = len(arguments)
        return [p.value(arguments[i] if i < given else None) for i, p in enumerate(self.params)]

    def forms(self) -> list:
        """Return the forms that do something, as RUN, READ and SET."""
        handlers = ((RUN, self._run), (READ, self._read), (SET, self._set))
        return [form for form, handler in handlers if handler]

    def _describe(self, channel) -> tuple:
        return (self.name + ": " + ",".join(str(p) for p in self.params),) if self.params else ()


class Setting(Command):
    """A command that reads and sets values, which AT&W keeps.

    The values have a holder: the channel if the setting is local, else the unit. get(holder) returns them,
    apply(holder, *values) puts them into effect or raises. factory: the values that AT&F brings back. A
    setting that is kept does not wait for AT&W, and ATZ and AT&F leave it alone.
    """

    def __init__(
        self, name: str, params, get, apply, factory: tuple, local: bool = False, kept: bool = False, run=None
    ) -> None:
        super().__init__(name, params, run, self._answer, self._keep if kept else self._change)
        self._get = get
        self._apply = apply
        self.factory = factory
        self.is_local = local
        self.is_kept = kept

    def current(self, channel) -> tuple:
        """Return the values that a channel sees now."""
        return self._get(self._holder(channel))

    def restore(self, holder, values) -> None:
        """Apply values of a profile to the channel or the unit. Raises what the set form raises."""
        self._apply(holder, *self.values(tuple(v.encode() if isinstance(v, str) else v for v in values)))

    def _holder(self, channel):
        return channel if self.is_local else channel.unit

    def _answer(self, channel) -> tuple:
        return (information(self.name, *self.current(channel)),)

    def _change(self, channel, *values) -> None:
        self._apply(self._holder(channel), *values)

    def _keep(self, channel, *values) -> None:
        try:
            self._change(channel, *values)
        finally:  # a consent that was withdrawn stays so, even if what it covered could not all be dropped
            channel.service.keep(self, channel)


class Bulk:
    """What a handler returns to get bytes: `size` of them go to take(), in pieces, and then done() is called.

    crc32: what the client says that the bytes' CRC-32 is, or None. done() returns lines as handlers do;
    abort() is called instead if bytes are missing or the checksum differs.
    """

    def __init__(self, size: int, crc32: int | None, take, done, abort) -> None:
        self.size = size
        self.crc32 = crc32
        self.take = take
        self.done = done
        self.abort = abort


def information(name: str, *values) -> bytes:
    """Make a line of information from a name and its values: texts are quoted, numbers are decimal."""
    fields = []
    for value in values:
        text = value.encode() if isinstance(value, str) else value
        fields.append(b'"%s"' % escape(text) if isinstance(text, bytes) else b"%d" % text)
    return name.encode() + b": " + b",".join(fields)
