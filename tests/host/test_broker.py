"""Addresses of brokers, as config.toml and the command line have them."""

import pytest
from bitnet_cli.cloud.broker import Broker, parse_broker
from bitnet_cli.errors import BitnetError


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://here", Broker("here", 1883)),
        ("mqtts://here:1", Broker("here", 1, True)),
        ("mqtt://me@here", Broker("here", 1883, False, "me")),
        ("mqtt://me:secret@[::1]/", Broker("::1", 1883, False, "me", "secret")),
        ("mqtt://a%40b:secret%2F%23%C3%BC@here", Broker("here", 1883, False, "a@b", "secret/#ü")),
    ],
)
def test_broker_addresses(url: str, broker: Broker) -> None:
    assert parse_broker(url) == broker
    assert "secret" not in repr(broker)


@pytest.mark.parametrize(
    "url",
    [
        "here:1883",
        "http://here",
        "mqtt://",
        "mqtt://here:99999",
        "mqtt://here:0",
        "mqtt://here:port",
        "mqtt://here/topic",
        "mqtt://here?topic",
        "mqtt://here#topic",
        "mqtt://:secret@here",
        "mqtt://me:%FF@here",
        "mqtt://here\udc80",
        "mqtt://he\nre",
    ],
)
def test_what_is_no_broker_address(url: str) -> None:
    with pytest.raises(BitnetError, match="broker") as refused:
        parse_broker(url)
    assert "\n" not in str(refused.value)
