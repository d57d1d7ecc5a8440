"""The lists of files that install the package name all of it."""

import json
import re
from typing import Any

import pytest
from bitnet_cli.natmod.build import ABI, ARCHITECTURES, module_path
from bitnet_cli.paths import DEVICE


def package(name: str) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads((DEVICE / name).read_text())
    return listed


def urls(name: str) -> list[list[str]]:
    listed: list[list[str]] = package(name)["urls"]
    return listed


@pytest.mark.parametrize("name", sorted(path.name for path in DEVICE.glob("*.json")))
def test_mip_package_has_the_version_of_the_code(name: str) -> None:
    """Which pyproject.toml reads from there; mip wants it in a file of its own."""
    found = re.search('__version__ = "(.*)"', (DEVICE / "bitnet" / "__init__.py").read_text())
    assert found and package(name)["version"] == found[1]


def test_mip_package_is_complete() -> None:
    files = sorted(str(path.relative_to(DEVICE)) for path in (DEVICE / "bitnet").rglob("*.py"))
    assert sorted(target for target, _ in urls("package.json")) == files
    assert all(target == source for target, source in urls("package.json"))


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_mip_package_with_the_native_module(architecture: str) -> None:
    """mip does not choose by architecture, so there is a list for each."""
    module = module_path(DEVICE / "natmod", architecture).relative_to(DEVICE).as_posix()
    expected = [["_bitnet.mpy", module], *urls("package.json")]
    assert urls(f"{architecture}_{ABI}.json") == expected
