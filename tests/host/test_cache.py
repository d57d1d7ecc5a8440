"""What is fetched once is whole, whoever else fetches it and whatever an earlier attempt left."""

from pathlib import Path

import pytest
from bitnet_cli import cache


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "bitnet-cli" / "thing"


def is_complete(folder: Path) -> bool:
    return (folder / "all").is_file()


def make(work: Path) -> Path:
    (work / "made").mkdir()
    (work / "made" / "all").write_text("ours")
    return work / "made"


def test_it_is_made_once(place: Path) -> None:
    assert cache.kept("thing", is_complete, make) == place
    (place / "all").write_text("kept")
    assert cache.kept("thing", is_complete, make) == place
    assert (place / "all").read_text() == "kept"


def test_what_is_incomplete_is_replaced(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "half").touch()
    cache.kept("thing", is_complete, make)
    assert [path.name for path in place.iterdir()] == ["all"]


def test_another_process_may_be_first(place: Path) -> None:
    def make_beside_another(work: Path) -> Path:
        place.mkdir()
        (place / "all").write_text("theirs")
        return make(work)

    cache.kept("thing", is_complete, make_beside_another)
    assert (place / "all").read_text() == "theirs"


def test_a_failure_leaves_nothing(place: Path) -> None:
    def fail(work: Path) -> Path:
        make(work)
        raise OSError

    with pytest.raises(OSError):
        cache.kept("thing", is_complete, fail)
    assert not list(place.parent.iterdir())
