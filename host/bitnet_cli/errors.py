"""The one exception family of the library; the command line turns it into a line and exit status 2."""


class BitnetError(Exception):
    """Something is wrong with the input or the environment; the text says what, and what to do."""
