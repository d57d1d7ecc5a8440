"""Debian's archive by a private apt configuration, so that the machine's own stays untouched."""

import os
import shutil
import subprocess
from pathlib import Path

from ..errors import BitnetError

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Suite:
    """One suite of Debian, such as trixie, as the machine's own mirror has it.

    folder: an existing one, to work in.
    instead: what a user without apt or network can do, for the errors.
    """

    def __init__(self, name: str, folder: Path, instead: str) -> None:
        self._name, self._folder, self._instead = name, folder, instead
        if shutil.which("apt-get") is None:
            raise BitnetError(f"there is no apt-get to fetch from Debian with: {instead}")
        self._options = self._configure()

    def _configure(self) -> list[str]:
        lists, cache, status = self._folder / "lists", self._folder / "cache", self._folder / "status"
        (lists / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        # What the machine has installed is of another suite.
        status.touch()
        settings = {
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": lists,
            "Dir::State::status": status,
            "Dir::Cache": cache,
            "APT::Sandbox::User": "root",
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def source(self, package: str) -> None:
        """Fetch a source package, such as "qemu" or "micropython=1.25.0+ds-1", into the folder."""
        self._update("deb-src")
        self._run("--download-only", "source", package)

    def unpack(self, packages: list[str], root: Path) -> None:
        """Fetch packages for this machine and unpack them below `root`."""
        if shutil.which("dpkg") is None:
            raise BitnetError(f"there is no dpkg to unpack Debian's packages with: {self._instead}")
        self._update("deb")
        self._run("download", *packages)
        for package in sorted(self._folder.glob("*.deb")):
            command: list[str | Path] = ["dpkg", "--extract", package, root]
            result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if result.returncode != 0:
                raise BitnetError(f"{package.name} cannot be unpacked: {result.stderr.strip()}")

    def _update(self, kind: str) -> None:
        signed_by = f" [signed-by={_KEYRING}]" if Path(_KEYRING).is_file() else ""
        line = f"{kind}{signed_by} {mirror(self._instead)} {self._name} main\n"
        (self._folder / "sources.list").write_text(line, encoding="utf-8")
        self._run("update")

    def _run(self, *words: str) -> None:
        result = subprocess.run(
            ["apt-get", "-q", *self._options, *words],
            cwd=self._folder,
            env=os.environ | {"LC_ALL": "C"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode != 0:
            output = (result.stdout + result.stderr)[-2000:].strip()
            raise BitnetError(
                f"apt-get {' '.join(words)} failed; check the network, or {self._instead}:\n{output}"
            )


def mirror(instead: str) -> str:
    """Return the address of the machine's own Debian mirror."""
    wanted = ("--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages")
    for extra in ((), ("--no-release-info",)):
        command = ["apt-get", "indextargets", *extra, *wanted]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        for line in result.stdout.splitlines():
            address, _, label = line.partition(" ")
            # Without `apt-get update` the label is not known, but Debian's mirrors end like this.
            if label == "Debian" or (extra and address.rstrip("/").endswith("/debian")):
                return address
    raise BitnetError(f"apt knows no Debian mirror to fetch from: {instead}")
