"""The lists of files that install the package name all of it."""

import json

import pytest
from bitnet_cli.natmod.build import ABI, ARCHITECTURES, module_path
from bitnet_cli.paths import DEVICE


def urls(name: str) -> list[list[str]]:
    listed: list[list[str]] = json.loads((DEVICE / name).read_text())["urls"]
    return listed


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
