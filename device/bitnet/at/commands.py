# The commands. device/README.md says of them what their docstrings say, and has the lines that begin with AT.

import gc
import sys
import time

from micropython import const

import bitnet
from bitnet import storage
from bitnet.fallback import WATCHDOG
from bitnet.unit import serial_number

from . import parser, upkeep
from .command import Command, Setting, information
from .parser import AtError, Choice, Crc, Int, Text, escape

_WEIGHT_TYPES = ("", "binary", "ternary")
_NOT_ASCII = bytes(range(128, 256))
_KV_BITS = const(4)
_FILE_MAX = const(65536)
_HEX_BYTES = const(64)  # of a file, a line
_MODES = const(7)
_RULES_MAX = const(99)


def _nothing(channel) -> None:
    """Says `OK`.

    AT
    """


def _echo(channel) -> tuple:
    """Echo off (as at the start) or on.

    ATE0
    """
    return (channel.echo,)


def _set_echo(channel, value: int) -> None:
    channel.echo = value


def _echo_off(channel) -> None:
    channel.echo = 0


def _verbose(channel) -> tuple:
    """Result codes as numbers without frames (`0` for `OK`, `4` for `ERROR`), or as words.

    ATV1
    """
    return (channel.verbose,)


def _set_verbose(channel, value: int) -> None:
    channel.verbose = value


def _verbose_off(channel) -> None:
    channel.verbose = 0


def _identify(channel) -> tuple:
    """Product and MicroPython versions.

    ATI
    """
    version = ".".join(str(part) for part in sys.implementation.version[:3])
    return "bitnet " + bitnet.__version__, f"{sys.implementation.name} {version}, {sys.platform}"


def _restore_saved(channel) -> None:
    """Settings as `AT&W` has saved them.

    ATZ
    """
    channel.service.restore_saved(channel)


def _restore_factory(channel) -> None:
    """Settings as the unit was built; what is saved stays until `AT&W`.

    AT&F
    """
    channel.service.restore_factory(channel)


def _save(channel) -> None:
    """Save the settings: echo, verbosity, errors, fallback, DVFS and sync.

    AT&W
    """
    channel.service.save(channel)


def _manufacturer(channel) -> tuple:
    """Who made it.

    AT+GMI
    """
    return ("bitnet-cli",)


def _machine(channel) -> tuple:
    """The board.

    AT+GMM
    """
    return (getattr(sys.implementation, "_machine", sys.platform),)


def _version(channel) -> tuple:
    """The package's version.

    AT+GMR
    """
    return (bitnet.__version__,)


def _serial_number(channel) -> tuple:
    """The chip's serial number, `0` if it has none.

    AT+GSN
    """
    return (serial_number(),)


def _cmee(channel) -> tuple:
    """Errors as `ERROR`, as codes or as texts.

    AT+CMEE=2
    AT+STAT
    AT+CMEE=0
    """
    return (channel.cmee,)


def _set_cmee(channel, value: int) -> None:
    channel.cmee = value


def _list_commands(channel) -> list:
    """All commands.

    AT+CLAC
    """
    return ["AT" + command.name for command in COMMANDS]


def _require_session(channel):
    unit = channel.unit
    if unit.session is None:
        raise AtError(parser.NO_MODEL, unit.fault)
    return unit.session


def _model(channel) -> tuple:
    """The model: name, bytes, CRC-32, kind of weights, vocabulary, width, layers, window, intents.
    Setting a path loads that model.

    AT+MODEL?
    """
    session = _require_session(channel)
    model = session.model
    return (
        information(
            "+MODEL",
            model.path.split("/")[-1],
            model.file_size,
            f"{model.crc32:08X}",
            _WEIGHT_TYPES[model.weight_type],
            model.vocab_size,
            model.hidden_size,
            model.num_layers,
            model.window,
            session.labels.intent_count if session.labels else 0,
        ),
    )


def _load_model(channel, path: bytes) -> None:
    channel.unit.load(str(path, "utf-8"), 0)


def _context(channel) -> tuple:
    """Positions of the KV cache, and bits of its numbers. Setting it loads the model again.

    AT+CTX?
    AT+CTX=16
    AT+CTX=32,4
    """
    return (information("+CTX", _require_session(channel).model.window, _KV_BITS),)


def _set_context(channel, window: int, bits: int) -> None:
    channel.unit.load(None, window)


def _infer(channel, text: bytes, deadline_ms: int) -> tuple:
    """The answer to a phrase: intent, confidence in permille, slots, source (`model`, `cache` or
    `rule`), ms, tokens of the prompt, seconds since it was cached.

    AT+INFER="Set the kitchen to 21 degrees"
    AT+INFER="What's the temp?",1000
    """
    session = channel.unit.session
    if session and session.labels is None:
        raise AtError(parser.NO_INTENTS)
    answer, _, age = channel.unit.infer(text, deadline_ms)
    # Separators inside a value are escaped: split first, then unescape.
    slots = b";".join(
        escape(name.encode(), b"=;") + b"=" + escape(value.encode(), b"=;")
        for name, value in answer.slots.items()
    )
    return (
        b'+INFER: "%s",%d,"%s","%s",%d,%d,%d'
        % (
            escape(answer.intent.encode()),
            answer.confidence,
            slots,
            answer.source.encode(),
            answer.latency_ms,
            answer.prompt_tokens,
            age,
        ),
    )


def _generate(channel, text: bytes, max_tokens: int):
    """What the model says to a text, unconstrained, token by token.

    AT+GEN="hello",3
    """
    return _pieces("+GEN", _require_session(channel).generate(text, max_tokens))


def _turns(channel) -> tuple:
    """A turn of a conversation; another system text begins a new one. Reading: turns, and tokens since
    the beginning. `AT+INFER` and `AT+GEN` end it.

    AT+CHAT="hello",2,"You are a sensor assistant."
    AT+CHAT="and now?",2
    AT+CHAT?
    AT+RESET
    """
    session = _require_session(channel)
    return (information("+CHAT", session.turns, session.model.position()),)


def _chat(channel, text: bytes, max_tokens: int, system: bytes):
    return _pieces("+CHAT", _require_session(channel).chat(text, max_tokens, system or None))


def _pieces(name: str, pieces):
    # A token may end inside a character, so a line holds no raw UTF-8.
    for piece in pieces:
        yield b'%s: "%s"' % (name.encode(), escape(piece, _NOT_ASCII))


def _reset(channel) -> None:
    """Forgets the conversation, the cache and the statistics; a model that failed is loaded
    again.

    AT+RESET
    """
    unit = channel.unit
    if unit.session is None:
        unit.reload()
    unit.responder.forget()
    _require_session(channel).reset()


def _features(channel):
    """Sensor readings for the model's features: channel and value. Reading: each feature, its value and
    its token.

    AT+FEAT="light",4350
    AT+FEAT?
    AT+INFER="is anyone in the office?"
    """
    features = channel.unit.features
    if features is None:
        raise AtError(parser.NOT_SUPPORTED, "the model has no features")
    for name, value, token in features.describe():
        yield information("+FEAT", name, value, token)


def _push_feature(channel, name: bytes, value: int) -> None:
    features = channel.unit.features
    if features is None:
        raise AtError(parser.NOT_SUPPORTED, "the model has no features")
    try:
        features.push(str(name, "utf-8"), value, time.ticks_ms())
    except ValueError as error:
        raise AtError(parser.NOT_ALLOWED, str(error)) from None


def _fallback(channel) -> tuple:
    """What answers when the model does not: 1 the cache, 2 the rules, 4 the cloud is told, added up;
    then the confidence in permille below which the model has not answered, and the deadline in ms (0:
    none).

    AT+FALLBACK=3,300,500
    AT+FALLBACK?
    AT+FALLBACK=3
    """
    responder = channel.unit.responder
    return responder.modes, responder.threshold, responder.deadline_ms


def _set_fallback(channel, modes: int, threshold: int, deadline_ms: int) -> None:
    responder = channel.unit.responder
    responder.modes, responder.threshold, responder.deadline_ms = modes, threshold, deadline_ms


def _rules(channel):
    """The rules that you have added: number and line. Setting 0 and a line adds one, a number alone
    removes it.

    AT+RULE=0,"read_temperature\\09how (?:warm|hot) "
    AT+RULE?
    AT+RULE=1
    """
    for number, line in enumerate(channel.unit.responder.rules.lines(), 1):
        yield information("+RULE", number, line)


def _set_rule(channel, number: int, line: bytes) -> None:
    rules = channel.unit.responder.rules
    storage.prepare()
    try:
        if number == 0:
            if sum(1 for _ in rules.lines()) >= _RULES_MAX:
                raise AtError(parser.NOT_ALLOWED, "there are 99 rules: remove one")
            rules.add(str(line, "utf-8"))
        elif line:
            raise parser.SyntaxFault
        else:
            rules.remove(number)
    except (ValueError, IndexError) as error:
        raise AtError(parser.NOT_ALLOWED, str(error)) from None


def _dvfs(channel) -> tuple:
    """How the processor's frequency is chosen: `fixed` (Hz), `deadline` (ms) or `thermal` (°C). Running
    it tells the Hz now, and the temperature in tenths of °C.

    AT+DVFS="deadline",100
    AT+DVFS?
    AT+INFER="What's the temp?"
    AT+DVFS
    """
    governor = channel.unit.governor
    return (governor.policy, governor.value) if governor else ("none", 0)


def _set_dvfs(channel, policy: str, value: int) -> None:
    governor = channel.unit.governor
    if governor is None:
        if policy != "none":
            raise AtError(parser.NOT_SUPPORTED, "this board's frequency cannot be changed")
    elif policy != "none":
        try:
            governor.set(policy, value)
        except ValueError as error:
            raise AtError(parser.NOT_ALLOWED, str(error)) from None


def _frequency(channel) -> tuple:
    governor = channel.unit.governor
    if governor is None:
        raise AtError(parser.NOT_SUPPORTED, "this board's frequency cannot be changed")
    return (information("+DVFS", governor.hertz, governor.temperature() or 0),)


def _energy(channel) -> tuple:
    """Energy of the last inference and of each of its tokens in µJ, and whether it was measured
    (`ina226`) or is an `estimate` from cycles.

    AT+ENERGY?
    """
    meter = channel.unit.meter
    if meter is None:
        raise AtError(parser.NOT_SUPPORTED, "nothing is known of this board's energy")
    return (information("+ENERGY", meter.microjoules, meter.microjoules_per_token, meter.source),)


def _stat(channel) -> tuple:
    """Bytes of free heap, ms and prompt tokens of the last request, requests, how many the model has
    not answered, why it was not the last of them, and why the unit was reset (`power` or `watchdog`).

    AT+STAT?
    """
    unit, session = channel.unit, channel.unit.session
    latency_ms, prompt_tokens, requests = (
        (session.latency_ms, session.prompt_tokens, session.requests) if session else (0, 0, 0)
    )
    gc.collect()
    responder = unit.responder
    cause = WATCHDOG if unit.watchdog.was_hung else "power"
    return (
        information(
            "+STAT",
            gc.mem_free(),
            latency_ms,
            prompt_tokens,
            requests,
            responder.fallbacks,
            responder.reason,
            cause,
        ),
    )


def _log(channel):
    """What went wrong lately: seconds ago, reason, text. Running it forgets that.

    AT+LOG?
    AT+LOG
    """
    for entry in channel.unit.log.entries():
        yield information("+LOG", *entry)


def _clear_log(channel) -> None:
    channel.unit.log.clear()


def _sync(channel) -> tuple:
    """Whether the user agrees that phrases are stored and sent. Running it tells the records that wait,
    those that were dropped, whether the broker is connected, and the last error.

    AT+SYNC=1
    AT+SYNC?
    AT+SYNC
    """
    sync = channel.unit.sync
    return (1 if sync and sync.consent else 0,)


def _set_sync(channel, consent: int) -> None:
    sync = channel.unit.sync
    if sync is None:
        if consent:
            raise AtError(parser.NOT_SUPPORTED, "no broker is configured")
    elif consent:
        sync.consent = True
    elif sync.consent:
        sync.withdraw()


def _sync_state(channel) -> tuple:
    sync = channel.unit.sync
    if sync is None:
        raise AtError(parser.NOT_SUPPORTED, "no broker is configured")
    queue = sync.queue
    return (information("+SYNC", queue.depth, queue.drops, int(sync.connected), sync.last_error),)


def _self_test(channel):
    """Tests the parts of the unit; ends with an error if one fails.

    AT+SELFTEST
    """
    failed = False
    for part, fault in upkeep.self_test(channel.unit):
        failed = failed or bool(fault)
        yield None
        yield information("+SELFTEST", part, fault or "ok")
    if failed:
        raise AtError(parser.SELF_TEST)


def _list_files(channel):
    """The unit's files: name and bytes. `read` sends one in hexadecimal, `write` wants `bytes` bytes
    after `>`, and keeps them if they have the CRC-32.

    AT+FILES?
    """
    for name, size in storage.files():
        yield information("+FILES", name, size)


def _use_file(channel, action: str, name: bytes, size: int, crc: int | None):
    path = upkeep.checked_name(name)
    if action == "write":
        return upkeep.receive(path, size, crc)
    if action == "delete":
        storage.remove(path)
        return None
    return upkeep.hexadecimal(path, _HEX_BYTES)


def _reserved(channel, text: bytes = b"") -> None:
    """Reserved: adapters and access.

    AT+LORA?
    AT+AUTH?
    """
    raise AtError(parser.NOT_SUPPORTED)


COMMANDS = (
    Command("", run=_nothing),
    Setting("E", (Int(0, 1, 0),), _echo, _set_echo, (0,), local=True, run=_echo_off),
    Setting("V", (Int(0, 1, 0),), _verbose, _set_verbose, (1,), local=True, run=_verbose_off),
    Command("I", run=_identify),
    Command("Z", run=_restore_saved),
    Command("&F", run=_restore_factory),
    Command("&W", run=_save),
    Setting("+CMEE", (Int(0, 2),), _cmee, _set_cmee, (0,), local=True),
    Command("+CLAC", run=_list_commands),
    Command("+GMI", run=_manufacturer),
    Command("+GMM", run=_machine),
    Command("+GMR", run=_version),
    Command("+GSN", run=_serial_number),
    Command("+MODEL", (Text(),), read=_model, set=_load_model),
    Command("+CTX", (Int(1, 256), Int(4, 4, 4)), read=_context, set=_set_context),
    Command("+INFER", (Text(), Int(0, 60000, 0)), set=_infer),
    Command("+GEN", (Text(), Int(1, 256, 32)), set=_generate, slow=True),
    Command("+CHAT", (Text(), Int(1, 256, 32), Text(b"")), read=_turns, set=_chat, slow=True),
    Command("+RESET", run=_reset),
    Command("+FEAT", (Text(), Int(-999999999, 999999999)), read=_features, set=_push_feature),
    Setting(
        "+FALLBACK",
        (Int(0, _MODES), Int(0, 1000, 0), Int(0, 60000, 0)),
        _fallback,
        _set_fallback,
        (3, 0, 0),
    ),
    Command("+RULE", (Int(0, _RULES_MAX), Text(b"")), read=_rules, set=_set_rule),
    Setting(
        "+DVFS",
        (Choice("none", "fixed", "deadline", "thermal"), Int(0, 999999999, 0)),
        _dvfs,
        _set_dvfs,
        ("none", 0),
        run=_frequency,
    ),
    Command("+ENERGY", read=_energy),
    Command("+STAT", read=_stat),
    Command("+LOG", run=_clear_log, read=_log),
    Setting("+SYNC", (Int(0, 1),), _sync, _set_sync, (0,), run=_sync_state),
    Command("+SELFTEST", run=_self_test, slow=True),
    Command(
        "+FILES",
        (Choice("read", "write", "delete"), Text(), Int(0, _FILE_MAX, 0), Crc()),
        read=_list_files,
        set=_use_file,
    ),
    Command("+LORA", (Text(b""),), run=_reserved, read=_reserved, set=_reserved),
    Command("+AUTH", (Text(b""),), run=_reserved, read=_reserved, set=_reserved),
)
_BY_NAME = {command.name: command for command in COMMANDS}


def find(name: str) -> Command | None:
    return _BY_NAME.get(name)


def settings() -> list:
    return [command for command in COMMANDS if isinstance(command, Setting)]
