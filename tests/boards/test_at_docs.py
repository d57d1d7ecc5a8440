"""device/README.md says what the commands do."""

from support import at_docs


def test_the_readme_is_up_to_date() -> None:
    readme = at_docs.README.read_text(encoding="utf-8")
    now = at_docs.updated(readme)
    assert at_docs.without_measurements(readme) == at_docs.without_measurements(now), (
        "run `PYTHONPATH=tests python -m support.at_docs` and read what has changed"
    )


def test_every_command_has_an_exchange() -> None:
    for row in at_docs.rows():
        assert row.text and row.examples, row
        assert any(example.startswith("AT" + row.name) for example in row.examples), row
