"""The linters and type checkers, run as tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
C_SOURCES = sorted(str(p) for p in (ROOT / "native").rglob("*.[ch]"))


def run(*command: str) -> None:
    """Fail with the tool's output if it finds anything."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", ".")


def test_python_is_formatted() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".")


def test_host_types() -> None:
    run(sys.executable, "-m", "mypy", "host/bitnet_cli")


def test_device_types(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The device package against MicroPython's own stubs, which stand in for typeshed."""
    stubs = tmp_path_factory.mktemp("stubs")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(*pip, "--target", str(stubs), "micropython-rp2-stubs==1.26.0.post1")
    config = stubs / "mypy.ini"
    config.write_text(
        "[mypy]\n"
        f"mypy_path = {stubs}\ncustom_typeshed_dir = {stubs}\n"
        "platform = linux\nno_site_packages = True\nfollow_imports = silent\nfollow_imports_for_stubs = True\n"
    )
    run(sys.executable, "-m", "mypy", "--config-file", str(config), "device/bitnet")


def test_c_is_formatted() -> None:
    run("clang-format", "--dry-run", "--Werror", *C_SOURCES)


def test_clang_tidy_finds_nothing() -> None:
    sources = [path for path in C_SOURCES if path.endswith(".c") and "/core/" in path]
    run("clang-tidy", "--quiet", "--warnings-as-errors=*", *sources, "--", "-std=c11", "-ffreestanding", "-Inative/core")
