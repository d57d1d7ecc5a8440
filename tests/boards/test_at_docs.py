"""device/AT.md says what the commands do."""

import re

import pytest
from support import at_docs

pytestmark = [pytest.mark.emulated, pytest.mark.toolchain]


def test_the_page_is_up_to_date() -> None:
    page = at_docs.PAGE.read_text(encoding="utf-8")
    now = at_docs.updated(page)
    assert at_docs.without_measurements(page) == at_docs.without_measurements(now), (
        "run `PYTHONPATH=tests python -m support.at_docs` and read what has changed"
    )


def test_every_command_has_an_exchange() -> None:
    for row in at_docs.rows():
        assert row.text and row.examples, row
        assert any(example.startswith("AT" + row.name) for example in row.examples), row


def test_what_the_page_shows_works() -> None:
    page = at_docs.PAGE.read_text(encoding="utf-8")
    failing = re.findall(r"^> (\S+)\nERROR$", page, re.MULTILINE)
    assert sorted(failing) == ["AT+AUTH?", "AT+LORA?"], "only what is reserved may fail"
