"""The committed native modules are what `bitnet-cli build` makes of the sources, byte for byte."""

import subprocess
from pathlib import Path

import pytest
from bitnet_cli.errors import BitnetError
from bitnet_cli.natmod import build, debian
from bitnet_cli.paths import DEVICE

pytestmark = pytest.mark.toolchain

MAX_TEXT_SIZE = 24 * 1024


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_committed_module(architecture: str, record_property: pytest.FixtureRequest) -> None:
    built = build.build(architecture, build.micropython_source(print))
    print(f"{architecture}: {built.text_size} bytes of code, gcc {built.compiler_version}")
    assert built.text_size <= MAX_TEXT_SIZE
    version = build.ARCHITECTURES[architecture].version
    assert built.compiler_version.startswith(version + "."), (
        f"the committed module comes from gcc {version}, this is {built.compiler_version}"
    )
    committed = build.module_path(DEVICE / "natmod", architecture).read_bytes()
    assert built.module == committed, f"run `bitnet-cli build --arch {architecture}` and commit the result"


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "make").symlink_to("/usr/bin/make")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BitnetError, match="install the Debian package gcc-arm-none-eabi"):
        build.build_into(tmp_path, ["armv6m"], print)


def test_a_wrong_mpy_dir_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MPY_DIR", str(tmp_path))
    with pytest.raises(BitnetError, match="MPY_DIR"):
        build.micropython_source(print)


def test_a_failed_fetch_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MPY_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian, "mirror", lambda instead: f"file://{tmp_path}/nothing")
    with pytest.raises(BitnetError, match="set MPY_DIR"):
        build.micropython_source(print)
    assert not list((tmp_path / "bitnet-cli").iterdir())


def test_another_tarball_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def source(self: debian.Suite, package: str) -> None:
        for folder in (tmp_path / "bitnet-cli").iterdir():
            (folder / build._SOURCE_TARBALL).write_bytes(b"other")

    monkeypatch.delenv("MPY_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debian.Suite, "source", source)
    with pytest.raises(BitnetError, match="SHA-256"):
        build.micropython_source(print)


def test_the_environment_stays_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """make adds these variables to its own."""
    source = build.micropython_source(print)
    monkeypatch.setenv("CFLAGS", "-O0 -g")
    monkeypatch.setenv("MAKEFLAGS", "ARCH=armv6m")
    assert build.build("x64", source).module == build.module_path(DEVICE / "natmod", "x64").read_bytes()


def test_modules_name_no_place() -> None:
    for architecture in build.ARCHITECTURES:
        module = build.module_path(DEVICE / "natmod", architecture)
        strings = subprocess.run(["strings", module], capture_output=True, text=True, check=True).stdout
        assert "/home" not in strings and "/tmp" not in strings
