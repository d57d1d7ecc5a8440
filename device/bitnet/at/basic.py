# Handlers of the commands that every modem has.
#
# The docstrings of handlers are the documentation of the commands: what a command does, then examples, which
# tests/boards/at_docs.py runs.

import sys

import bitnet
from bitnet.unit import serial_number


def nothing(channel) -> None:
    """Says `OK`.

    AT
    """


def echo(channel) -> tuple:
    """Turns the echo off (as at the start) or on.

    ATE0
    """
    return (channel.echo,)


def set_echo(channel, value: int) -> None:
    channel.echo = value


def echo_off(channel) -> None:
    channel.echo = 0


def verbose(channel) -> tuple:
    """Sends result codes as numbers without frames (`0` for `OK`, `4` for `ERROR`), or as words.

    ATV1
    """
    return (channel.verbose,)


def set_verbose(channel, value: int) -> None:
    channel.verbose = value


def verbose_off(channel) -> None:
    channel.verbose = 0


def identify(channel) -> tuple:
    """Tells the versions of the product and of MicroPython.

    ATI
    """
    version = ".".join(str(part) for part in sys.implementation.version[:3])
    return "bitnet " + bitnet.__version__, f"{sys.implementation.name} {version}, {sys.platform}"


def restore_saved(channel) -> None:
    """Restores the settings that `AT&W` has saved.

    ATZ
    """
    channel.service.restore_saved(channel)


def restore_factory(channel) -> None:
    """Restores the settings that the unit was built with; those that are saved stay so until `AT&W`.

    AT&F
    """
    channel.service.restore_factory(channel)


def save(channel) -> None:
    """Saves the settings: echo, verbosity, errors, fallback and DVFS.

    AT&W
    """
    channel.service.save(channel)


def manufacturer(channel) -> tuple:
    """Names the manufacturer.

    AT+GMI
    """
    return ("bitnet-cli",)


def machine(channel) -> tuple:
    """Names the board.

    AT+GMM
    """
    return (getattr(sys.implementation, "_machine", sys.platform),)


def version(channel) -> tuple:
    """Tells the version of the package.

    AT+GMR
    """
    return (bitnet.__version__,)


def chip(channel) -> tuple:
    """Tells the chip's serial number, `0` if it has none.

    AT+GSN
    """
    return (serial_number(),)


def cmee(channel) -> tuple:
    """Reports errors as `ERROR`, as codes or as texts.

    AT+CMEE=2
    AT+STAT
    AT+CMEE=0
    """
    return (channel.cmee,)


def set_cmee(channel, value: int) -> None:
    channel.cmee = value
