"""The linters and type checkers, run as tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable

# MicroPython's modules and its part of the standard library, which stand in for typeshed.
STUBS = ("micropython-rp2-stubs==1.26.0.post1", "micropython-stdlib-stubs==1.26.0.post3")
DEVICE_TYPES = """
[mypy]
mypy_path = {stubs}:device:device/typings
custom_typeshed_dir = {stubs}
cache_dir = {stubs}/.mypy_cache
platform = linux
no_site_packages = True
follow_imports = silent
follow_imports_for_stubs = True
check_untyped_defs = True
warn_unreachable = True
warn_unused_ignores = True
"""


def run(*command: str) -> str:
    """What the tool prints; fails with it if the tool finds anything."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def c_files(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


def test_ruff_finds_nothing() -> None:
    run(PYTHON, "-m", "ruff", "check", ".")


def test_python_is_formatted() -> None:
    run(PYTHON, "-m", "ruff", "format", "--check", ".")


def test_host_types() -> None:
    run(PYTHON, "-m", "mypy", "--strict", "host/bitnet_cli")


@pytest.fixture(scope="module")
def device_config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A mypy configuration in which `import micropython` means MicroPython's."""
    stubs = tmp_path_factory.mktemp("stubs")
    run(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", str(stubs), *STUBS)
    config = stubs / "mypy.ini"
    config.write_text(DEVICE_TYPES.format(stubs=stubs))
    return str(config)


def test_device_types(device_config: str) -> None:
    run(
        PYTHON,
        "-m",
        "mypy",
        "--config-file",
        device_config,
        "device/bitnet",
        "device/main.py",
        "device/tools/agent.py",
        "device/tools/checks.py",
        "device/examples/phrase_to_gpio.py",
        "device/examples/sensor_to_answer.py",
        "device/examples/at_over_uart.py",
    )


def test_device_types_are_micropythons(device_config: str, tmp_path: Path) -> None:
    """The check above would find what only CPython has."""
    code = tmp_path / "code.py"
    code.write_text("import gc, micropython\nmicropython.heap_lock()\ngc.mem_free()\ngc.get_referrers()\n")
    command = (PYTHON, "-m", "mypy", "--config-file", device_config, str(code))
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert 'code.py:4: error: Module has no attribute "get_referrers"' in result.stdout
    assert "Found 1 error" in result.stdout


@pytest.mark.toolchain
def test_c_is_formatted() -> None:
    files = c_files(*(f"{room}/**/*.[ch]" for room in ("native", "host", "boards", "tests")))
    run("clang-format", "--dry-run", "--Werror", *files)


@pytest.mark.toolchain
def test_clang_tidy_finds_nothing() -> None:
    """The core; the bindings include headers that only a MicroPython build makes."""
    sources = c_files("native/core/*.c")
    flags = ("-std=c11", "-ffreestanding", "-Inative/core")
    run("clang-tidy", "--quiet", "--warnings-as-errors=*", *sources, "--", *flags)


# What begins a fragment such as "Of the compiler." or a noun where a verb belongs.
NO_VERBS = {
    *"A All An And As At Both Bytes By Each Every For From How If In It Its None Of On One Once Only".split(),
    *"Some That The Those To Until What When Where Whether Which Who With Without".split(),
}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "host" / "bitnet_cli").rglob("*.py")), ids=lambda path: path.name
)
def test_docstrings_begin_with_a_verb(path: Path) -> None:
    """Only those of functions: a property or a class is a thing."""
    functions = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef))
    for function in functions:
        names = {getattr(decorator, "id", "") for decorator in function.decorator_list}
        said = ast.get_docstring(function)
        if said and not function.name.startswith("__") and "property" not in names:
            assert said.split()[0].strip(",.:;") not in NO_VERBS, f"{function.name}: {said.splitlines()[0]}"
