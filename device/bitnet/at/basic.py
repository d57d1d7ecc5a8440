# Handlers of the commands that every modem has. What device/README.md says of a command is its docstring.

import sys

import bitnet
from bitnet.unit import serial_number


def nothing(channel) -> None:
    """Says `OK`.

    AT
    """


def echo(channel) -> tuple:
    """Echo off (as at the start) or on.

    ATE0
    """
    return (channel.echo,)


def set_echo(channel, value: int) -> None:
    channel.echo = value


def echo_off(channel) -> None:
    channel.echo = 0


def verbose(channel) -> tuple:
    """Result codes as numbers without frames (`0` for `OK`, `4` for `ERROR`), or as words.

    ATV1
    """
    return (channel.verbose,)


def set_verbose(channel, value: int) -> None:
    channel.verbose = value


def verbose_off(channel) -> None:
    channel.verbose = 0


def identify(channel) -> tuple:
    """Product and MicroPython versions.

    ATI
    """
    version = ".".join(str(part) for part in sys.implementation.version[:3])
    return "bitnet " + bitnet.__version__, f"{sys.implementation.name} {version}, {sys.platform}"


def restore_saved(channel) -> None:
    """Settings as `AT&W` has saved them.

    ATZ
    """
    channel.service.restore_saved(channel)


def restore_factory(channel) -> None:
    """Settings as the unit was built; what is saved stays until `AT&W`.

    AT&F
    """
    channel.service.restore_factory(channel)


def save(channel) -> None:
    """Save the settings: echo, verbosity, errors, fallback and DVFS.

    AT&W
    """
    channel.service.save(channel)


def manufacturer(channel) -> tuple:
    """Who made it.

    AT+GMI
    """
    return ("bitnet-cli",)


def machine(channel) -> tuple:
    """The board.

    AT+GMM
    """
    return (getattr(sys.implementation, "_machine", sys.platform),)


def version(channel) -> tuple:
    """The package's version.

    AT+GMR
    """
    return (bitnet.__version__,)


def chip(channel) -> tuple:
    """The chip's serial number, `0` if it has none.

    AT+GSN
    """
    return (serial_number(),)


def cmee(channel) -> tuple:
    """Errors as `ERROR`, as codes or as texts.

    AT+CMEE=2
    AT+STAT
    AT+CMEE=0
    """
    return (channel.cmee,)


def set_cmee(channel, value: int) -> None:
    channel.cmee = value
