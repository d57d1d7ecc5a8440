# Rows of the command table. Handlers get the channel and the parameters, and return or yield lines to send.

from .parser import NOT_SUPPORTED, READ, RUN, SET, TEST, AtError, SyntaxFault, escape


class Command:
    """A command and the forms it has. The test form describes `params`, the parameters of the set form.

    A slow one's handler is a generator; between its lines other channels are served, None is no line.
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
        """What to call for a form, and the parameters for it. Raises SyntaxFault or AtError."""
        if form == TEST:
            return self._describe, ()
        handler = self._set if form == SET else self._read if form == READ else self._run
        if handler is None:
            raise AtError(NOT_SUPPORTED)
        return handler, self.values(arguments) if form == SET else ()

    def values(self, arguments: tuple) -> list:
        """The arguments as the parameters want them."""
        if len(arguments) > len(self.params):
            raise SyntaxFault
        given = len(arguments)
        return [p.value(arguments[i] if i < given else None) for i, p in enumerate(self.params)]

    def forms(self) -> list:
        """The forms that do something, as RUN, READ and SET."""
        handlers = ((RUN, self._run), (READ, self._read), (SET, self._set))
        return [form for form, handler in handlers if handler]

    def _describe(self, channel) -> tuple:
        return (self.name + ": " + ",".join(str(p) for p in self.params),) if self.params else ()


class Setting(Command):
    """A command that reads and sets values, which AT&W keeps.

    get(channel) returns them, apply(channel, *values) puts them into effect or raises. A local one is the
    channel's, others are the unit's. factory: the values that AT&F brings back. One that is kept does not
    wait for AT&W, and ATZ and AT&F leave it.
    """

    def __init__(
        self, name: str, params, get, apply, factory: tuple, local: bool = False, kept: bool = False, run=None
    ) -> None:
        super().__init__(name, params, run, self._answer, self._keep if kept else apply)
        self.get = get
        self.apply = apply
        self.factory = factory
        self.is_local = local
        self.is_kept = kept

    def _answer(self, channel) -> tuple:
        return (information(self.name, *self.get(channel)),)

    def _keep(self, channel, *values) -> None:
        try:
            self.apply(channel, *values)
        finally:  # a withdrawal holds, also if it could not be carried out to its end
            channel.service.keep(self, channel)

    def restore(self, channel, values) -> None:
        """Apply values of a profile. Raises as set does."""
        self.apply(channel, *self.values(tuple(v.encode() if isinstance(v, str) else v for v in values)))


class Bulk:
    """What a handler returns to get bytes: `size` of them go to take(), in pieces, and then done() is called.

    crc32: of the bytes, or None if the client has not told it. done() returns lines as handlers do; abort()
    is called instead if not all bytes come, or others than were announced.
    """

    def __init__(self, size: int, crc32: int | None, take, done, abort) -> None:
        self.size = size
        self.crc32 = crc32
        self.take = take
        self.done = done
        self.abort = abort


def information(name: str, *values) -> bytes:
    """A line of information: texts are quoted."""
    fields = []
    for value in values:
        text = value.encode() if isinstance(value, str) else value
        fields.append(b'"%s"' % escape(text) if isinstance(text, bytes) else b"%d" % text)
    return name.encode() + b": " + b",".join(fields)
