"""The public data sets are what results were measured on, and are made from what their makers publish."""

import io
import zipfile
from pathlib import Path

import pytest
from bitnet_cli.errors import BitnetError
from support import public_data
from support.public_data import DATA_SETS, FOLDER, DataSet, Files

HWU64, HOME_ASSISTANT, OCCUPANCY = DATA_SETS


def archive(files: Files) -> bytes:
    """Return a zip archive whose files lie in a folder, as GitHub's do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in files.items():
            file.writestr(f"repository-fa95533/{name}", data)
    return buffer.getvalue()


def files_below(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@public_data.needs("home_assistant")
def test_home_assistants_tests_become_rows(tmp_path: Path) -> None:
    sources = files_below(FOLDER / "home_assistant")
    sources.pop("test.jsonl")
    HOME_ASSISTANT.write(archive(sources), tmp_path)
    made = (tmp_path / "home_assistant" / "test.jsonl").read_bytes()
    assert made == (FOLDER / "home_assistant" / "test.jsonl").read_bytes()


@public_data.needs("occupancy")
def test_readings_are_kept(tmp_path: Path) -> None:
    OCCUPANCY.write(archive(files_below(FOLDER / "occupancy")), tmp_path)
    assert len(list((tmp_path / "occupancy").iterdir())) == 3


@public_data.needs("hwu64")
def test_hwu64_is_what_results_were_measured_on() -> None:
    files = files_below(FOLDER / "hwu64")
    assert public_data.digest({n: data for n, data in files.items() if n.endswith(".jsonl")}) == HWU64.sha256


def test_hwu64_lines_become_rows() -> None:
    parts = {
        f"x/Datasets/HWU64/{part}/{name}": text
        for part in ("train", "valid", "test")
        for name, text in (("seq.in", b"wake me\nna\xc3\xafve\n"), ("label", b"alarm_set\nother\n"))
    }
    assert public_data.hwu64(parts)["valid.jsonl"].decode() == (
        '{"text": "wake me", "intent": "alarm_set"}\n{"text": "naïve", "intent": "other"}\n'
    )


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
@pytest.mark.parametrize("content", [{}, {"Datasets/HWU64/test/label": b"x"}], ids=["empty", "another"])
def test_another_archive_is_refused_and_nothing_written(
    data_set: DataSet, content: Files, tmp_path: Path
) -> None:
    with pytest.raises(BitnetError, match="not what the results were measured on"):
        data_set.write(archive(content), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BitnetError, match="not what the results were measured on"):
        HWU64.write(b"<html>Not found</html>", tmp_path)
