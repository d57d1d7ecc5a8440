"""device/models/README.md lists what the stock model answers."""

from support import model_docs


def test_the_page_is_up_to_date() -> None:
    assert model_docs.PAGE.read_text(encoding="utf-8") == model_docs.page(), (
        "run `PYTHONPATH=tests python -m support.model_docs`"
    )
