# Handlers of the commands that decide what answers when the model does not.

from micropython import const

from . import parser
from .command import information
from .parser import AtError

RULES_MAX = const(99)


def fallback(unit) -> tuple:
    """Chooses what answers when the model does not: 1 the cache, 2 the rules, 4 the cloud is told, added up;
    then the confidence in permille below which the model has not answered, and the deadline in ms (0:
    none).

    AT+FALLBACK=3,300,500
    AT+FALLBACK?
    AT+FALLBACK=3
    """
    responder = unit.responder
    return responder.modes, responder.threshold, responder.deadline_ms


def set_fallback(unit, modes: int, threshold: int, deadline_ms: int) -> None:
    responder = unit.responder
    responder.modes, responder.threshold, responder.deadline_ms = modes, threshold, deadline_ms


def rules(channel):
    """Lists the rules that you have added: number and line. Setting 0 and a line adds one, a number alone
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
