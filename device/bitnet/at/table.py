# The table of all commands, in the order in which AT+CLAC and the documentation list them.

from micropython import const

from . import basic, cloud, fallback, inference, parser, power, upkeep
from .command import Command, Setting
from .parser import AtError, Choice, Crc, Int, Text

_FILE_MAX = const(65536)
_MODES = const(7)


def _list_commands(channel) -> list:
    """Lists all commands.

    AT+CLAC
    """
    return ["AT" + command.name for command in COMMANDS]


def _reserved(channel, text: bytes = b"") -> None:
    """Is reserved, for adapters and for access.

    AT+LORA?
    AT+AUTH?
    """
    raise AtError(parser.NOT_SUPPORTED)


COMMANDS = (
    Command("", run=basic.nothing),
    Setting("E", (Int(0, 1, 0),), basic.echo, basic.set_echo, (0,), local=True, run=basic.echo_off),
    Setting("V", (Int(0, 1, 0),), basic.verbose, basic.set_verbose, (1,), local=True, run=basic.verbose_off),
    Command("I", run=basic.identify),
    Command("Z", run=basic.restore_saved),
    Command("&F", run=basic.restore_factory),
    Command("&W", run=basic.save),
    Setting("+CMEE", (Int(0, 2),), basic.cmee, basic.set_cmee, (0,), local=True),
    Command("+CLAC", run=_list_commands),
    Command("+GMI", run=basic.manufacturer),
    Command("+GMM", run=basic.machine),
    Command("+GMR", run=basic.version),
    Command("+GSN", run=basic.chip),
    Command("+MODEL", (Text(),), read=inference.model, set=inference.load_model),
    Command("+CTX", (Int(1, 256), Int(4, 4, 4)), read=inference.context, set=inference.set_context),
    Command("+INFER", (Text(), Int(0, 60000, 0)), set=inference.infer),
    Command("+GEN", (Text(), Int(1, 256, 32)), set=inference.generate, slow=True),
    Command(
        "+CHAT", (Text(), Int(1, 256, 32), Text(b"")), read=inference.turns, set=inference.chat, slow=True
    ),
    Command("+RESET", run=inference.reset),
    Command(
        "+FEAT", (Text(), Int(-999999999, 999999999)), read=inference.features, set=inference.push_feature
    ),
    Setting(
        "+FALLBACK",
        (Int(0, _MODES), Int(0, 1000, 0), Int(0, 60000, 0)),
        fallback.fallback,
        fallback.set_fallback,
        (3, 0, 0),
    ),
    Command("+RULE", (Int(0, fallback.RULES_MAX), Text(b"")), read=fallback.rules, set=fallback.set_rule),
    Setting(
        "+DVFS",
        (Choice("none", "fixed", "deadline", "thermal"), Int(0, 999999999, 0)),
        power.dvfs,
        power.set_dvfs,
        ("none", 0),
        run=power.frequency,
    ),
    Command("+ENERGY", read=power.energy),
    Command("+STAT", read=upkeep.stat),
    Command("+LOG", run=upkeep.clear_log, read=upkeep.log),
    Setting("+SYNC", (Int(0, 1),), cloud.consent, cloud.set_consent, (0,), kept=True, run=cloud.state),
    Command("+SELFTEST", run=upkeep.self_test, slow=True),
    Command(
        "+FILES",
        (Choice("read", "write", "delete"), Text(), Int(0, _FILE_MAX, 0), Crc()),
        read=upkeep.list_files,
        set=upkeep.use_file,
    ),
    Command("+LORA", (Text(b""),), run=_reserved, read=_reserved, set=_reserved),
    Command("+AUTH", (Text(b""),), run=_reserved, read=_reserved, set=_reserved),
)
_BY_NAME = {command.name: command for command in COMMANDS}


def find(name: str) -> Command | None:
    """Return the command of this name, which comes without its AT."""
    return _BY_NAME.get(name)


def settings() -> list:
    """Return the commands that are settings."""
    return [command for command in COMMANDS if isinstance(command, Setting)]
