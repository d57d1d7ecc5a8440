"""The lists of files that install the package name all of it."""

import json

from bitnet_cli.paths import DEVICE


def test_mip_package_is_complete() -> None:
    urls = json.loads((DEVICE / "package.json").read_text())["urls"]
    files = sorted(str(path.relative_to(DEVICE)) for path in (DEVICE / "bitnet").rglob("*.py"))
    assert sorted(target for target, _ in urls) == files
    assert all(target == source for target, source in urls)
