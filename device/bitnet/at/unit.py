# Handlers of the commands that look after the unit.

import gc

from micropython import const

from bitnet import storage
from bitnet.fallback import WATCHDOG

from . import parser, upkeep
from .command import information
from .parser import AtError

_HEX_BYTES = const(64)  # of a file, a line
RULES_MAX = const(99)


def fallback(channel) -> tuple:
    """What answers when the model does not: 1 the cache, 2 the rules, 4 the cloud is told, added up;
    then the confidence in permille below which the model has not answered, and the deadline in ms (0:
    none).

    AT+FALLBACK=3,300,500
    AT+FALLBACK?
    AT+FALLBACK=3
    """
    responder = channel.unit.responder
    return responder.modes, responder.threshold, responder.deadline_ms


def set_fallback(channel, modes: int, threshold: int, deadline_ms: int) -> None:
    responder = channel.unit.responder
    responder.modes, responder.threshold, responder.deadline_ms = modes, threshold, deadline_ms


def rules(channel):
    """The rules that you have added: number and line. Setting 0 and a line adds one, a number alone
    removes it.

    AT+RULE=0,"read_temperature\\09how (?:warm|hot) "
    AT+RULE?
    AT+RULE=1
    """
    for number, line in enumerate(channel.unit.responder.rules.lines(), 1):
        yield information("+RULE", number, line)


def set_rule(channel, number: int, line: bytes) -> None:
    rules = channel.unit.responder.rules
    try:
        if number == 0:
            if sum(1 for _ in rules.lines()) >= RULES_MAX:
                raise AtError(parser.NOT_ALLOWED, "there are 99 rules: remove one")
            rules.add(str(line, "utf-8"))
        elif line:
            raise parser.SyntaxFault
        else:
            rules.remove(number)
    except (ValueError, IndexError) as error:
        raise AtError(parser.NOT_ALLOWED, str(error)) from None


def dvfs(channel) -> tuple:
    """How the processor's frequency is chosen: `fixed` (Hz), `deadline` (ms), `thermal` (°C), or `none` for
    the board's own. Running it tells the Hz now, and the temperature in tenths of °C.

    AT+DVFS="deadline",100
    AT+DVFS?
    AT+INFER="What's the temp?"
    AT+DVFS
    """
    governor = channel.unit.governor
    return (governor.policy, governor.value) if governor else ("none", 0)


def set_dvfs(channel, policy: str, value: int) -> None:
    governor = channel.unit.governor
    if governor is None:
        if policy != "none":
            raise AtError(parser.NOT_SUPPORTED, "this board's frequency cannot be changed")
        return
    if policy == "none":
        policy, value = "fixed", governor.default
    try:
        governor.set(policy, value)
    except ValueError as error:
        raise AtError(parser.NOT_ALLOWED, str(error)) from None


def frequency(channel) -> tuple:
    governor = channel.unit.governor
    if governor is None:
        raise AtError(parser.NOT_SUPPORTED, "this board's frequency cannot be changed")
    return (information("+DVFS", governor.hertz, governor.temperature() or 0),)


def energy(channel) -> tuple:
    """Energy of the last inference and of each of its tokens in µJ, and whether it was measured
    (`ina226`) or is an `estimate` from cycles.

    AT+ENERGY?
    """
    meter = channel.unit.meter
    if meter is None:
        raise AtError(parser.NOT_SUPPORTED, "nothing is known of this board's energy")
    return (information("+ENERGY", meter.microjoules, meter.microjoules_per_token, meter.source),)


def stat(channel) -> tuple:
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


def log(channel):
    """What went wrong lately: seconds ago, reason, text. Running it forgets that.

    AT+LOG?
    AT+LOG
    """
    for entry in channel.unit.log.entries():
        yield information("+LOG", *entry)


def clear_log(channel) -> None:
    channel.unit.log.clear()


def sync(channel) -> tuple:
    """Whether the user agrees that phrases are stored and sent; kept at once, and left by `ATZ` and `AT&F`.
    Running it tells the records that wait, those that were dropped, whether the broker is connected, and the
    last error; the same comes unasked when a connection begins or ends.

    AT+SYNC=1
    AT+SYNC?
    AT+SYNC
    """
    sync = channel.unit.sync
    return (1 if sync and sync.consent else 0,)


def set_sync(channel, consent: int) -> None:
    sync = channel.unit.sync
    if sync is None:
        if consent:
            raise AtError(parser.NOT_SUPPORTED, "no broker is configured")
    elif consent:
        sync.consent = True
    else:
        sync.withdraw()


def sync_state(channel) -> tuple:
    sync = channel.unit.sync
    if sync is None:
        raise AtError(parser.NOT_SUPPORTED, "no broker is configured")
    queue = sync.queue
    return (information("+SYNC", queue.depth, queue.drops, int(sync.connected), sync.last_error),)


def self_test(channel):
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


def list_files(channel):
    """The unit's files: name and bytes. `read` sends one in hexadecimal, `write` wants `bytes` bytes
    after `>`, and keeps them if they have the CRC-32.

    AT+FILES?
    """
    for name, size in storage.files():
        yield information("+FILES", name, size)


def use_file(channel, action: str, name: bytes, size: int, crc: int | None):
    path = storage.path(upkeep.checked_name(name))
    if action == "write":
        return upkeep.receive(path, size, crc)
    if action == "delete":
        storage.remove(path)
        return None
    return upkeep.hexadecimal(path, _HEX_BYTES)


def reserved(channel, text: bytes = b"") -> None:
    """Reserved: adapters and access.

    AT+LORA?
    AT+AUTH?
    """
    raise AtError(parser.NOT_SUPPORTED)
