"""The BLE transport, with a stand-in for the radio and its stack, which need silicon."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONNECT, DISCONNECT, WRITE, MTU = 1, 2, 3, 21


def written(text: str) -> list[Any]:
    return [WRITE, text.encode().hex()]


def talk(on_device: Callable[..., Any], model: Path, *events: list[Any]) -> list[Any]:
    """What is sent; a list of events in the place of one comes at once."""
    lines = [json.dumps(event if isinstance(event[0], list) else [event]) for event in events]
    result: list[Any] = on_device("ble.py", model, lines=lines)
    return result


def said(events: list[Any], client: int) -> str:
    packets = [bytes.fromhex(event[2]) for event in events if event[0] == "notify" and event[1] == client]
    return b"".join(packets).decode()


def test_answers_in_packets(on_device: Callable[..., Any], random_model: Path) -> None:
    """A phrase comes in pieces and its answer goes in pieces of 20 bytes, or of what the client takes."""
    events = talk(
        on_device,
        random_model,
        [CONNECT, [7, 0, "x"]],
        written('AT+INFER="is it wa'),
        written('rm"\r'),
        [MTU, [7, 103]],
        written("ATI\r"),
        ["sleep", 300],
    )
    assert events[0] == ["service", [["6E400003", 0x10], ["6E400002", 0x0C]]]
    assert events[1] == ["advertise", "bitnet"]
    text = said(events, 7)
    assert text.startswith("\r\nready\r\n\r\n+INFER: ")
    assert text.endswith("linux\r\n\r\nOK\r\n") and text.count("\r\nOK\r\n") == 2
    sizes = [len(event[2]) // 2 for event in events if event[0] == "notify"]
    assert max(sizes[:6]) == 20 and 20 < max(sizes) <= 100


def test_one_client_after_the_other(on_device: Callable[..., Any], random_model: Path) -> None:
    """Half a line of the first is not the second's."""
    events = talk(
        on_device,
        random_model,
        [CONNECT, [7, 0, "x"]],
        written("AT+CMEE=1\rAT+IN"),
        [DISCONNECT, [7, 0, "x"]],
        [CONNECT, [8, 0, "y"]],
        written("AT+LORA\r"),
        ["sleep", 300],
    )
    assert [event[0] for event in events].count("advertise") == 2
    assert said(events, 7) == "\r\nready\r\n\r\nOK\r\n"
    assert said(events, 8) == "\r\nready\r\n\r\nERROR\r\n"


def test_a_client_that_comes_when_another_goes(on_device: Callable[..., Any], random_model: Path) -> None:
    """Neither the unit nor the stack had the time to look in between."""
    events = talk(
        on_device,
        random_model,
        [CONNECT, [7, 0, "x"]],
        written("ATE1\rAT+IN"),
        [[DISCONNECT, [7, 0, "x"]], [CONNECT, [8, 0, "y"]]],
        written("AT\r"),
        ["sleep", 300],
    )
    assert said(events, 8) == "\r\nready\r\n\r\nOK\r\n"


def test_echo_of_what_is_typed(on_device: Callable[..., Any], random_model: Path) -> None:
    """At once, not with the reply: a line that never ends does not fill the memory."""
    typed = [written("x" * 400) for _ in range(20)]
    events = talk(
        on_device, random_model, [CONNECT, [7, 0, "x"]], written("ATE1\r"), *typed, written("\rAT\r")
    )
    assert said(events, 7).count("x") == 8000
    assert said(events, 7).endswith("\r\r\nERROR\r\nAT\r\r\nOK\r\n")
