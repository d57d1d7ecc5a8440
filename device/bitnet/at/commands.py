# The commands, in the order in which AT+CLAC and device/README.md have them.

from micropython import const

from . import basic, inference, unit
from .command import Command, Setting
from .parser import Choice, Crc, Int, Text

_FILE_MAX = const(65536)
_MODES = const(7)


def _list_commands(channel) -> list:
    """All commands.

    AT+CLAC
    """
    return ["AT" + command.name for command in COMMANDS]


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
        unit.fallback,
        unit.set_fallback,
        (3, 0, 0),
    ),
    Command("+RULE", (Int(0, unit.RULES_MAX), Text(b"")), read=unit.rules, set=unit.set_rule),
    Setting(
        "+DVFS",
        (Choice("none", "fixed", "deadline", "thermal"), Int(0, 999999999, 0)),
        unit.dvfs,
        unit.set_dvfs,
        ("none", 0),
        run=unit.frequency,
    ),
    Command("+ENERGY", read=unit.energy),
    Command("+STAT", read=unit.stat),
    Command("+LOG", run=unit.clear_log, read=unit.log),
    Setting("+SYNC", (Int(0, 1),), unit.sync, unit.set_sync, (0,), kept=True, run=unit.sync_state),
    Command("+SELFTEST", run=unit.self_test, slow=True),
    Command(
        "+FILES",
        (Choice("read", "write", "delete"), Text(), Int(0, _FILE_MAX, 0), Crc()),
        read=unit.list_files,
        set=unit.use_file,
    ),
    Command("+LORA", (Text(b""),), run=unit.reserved, read=unit.reserved, set=unit.reserved),
    Command("+AUTH", (Text(b""),), run=unit.reserved, read=unit.reserved, set=unit.reserved),
)
_BY_NAME = {command.name: command for command in COMMANDS}


def find(name: str) -> Command | None:
    return _BY_NAME.get(name)


def settings() -> list:
    return [command for command in COMMANDS if isinstance(command, Setting)]
