"""What the AT service does besides answering one line after another."""

import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from zlib import crc32

import pytest
from bitnet_cli.boards.at import AtClient
from bitnet_cli.boards.config import UnitConfig
from bitnet_cli.emulation.simulator import SimulatedBoard
from support.at_line import Line
from support.mosquitto import Broker, config_with_broker, config_without_broker, free_port
from support.patience import PATIENCE


@pytest.fixture
def board(random_model: Path) -> Iterator[SimulatedBoard]:
    """A new one for each test: some fill its storage."""
    with SimulatedBoard(random_model) as board:
        yield board


def test_repeats_the_last_line(board: SimulatedBoard) -> None:
    with Line(board.port) as line:
        assert line.ask(b"A/")[0] == "ERROR"
        assert b"bitnet" in line.ask(b"ATI")[1]
        line.send(b"A/")
        codes, data = line.results(1)
        assert codes == ["OK"] and b"bitnet" in data
        line.send(b"A/\r")
        assert line.results(1)[0] == ["OK"]


def test_numeric_result_codes(line: Line) -> None:
    line.send(b"ATV0\rAT\rnonsense\rAT+CMEE?\rATV1\r")
    codes, data = line.results(1)
    assert data == b"0\r0\r4\r+CMEE: 0\r\n0\r\r\nOK\r\n"
    assert codes == ["OK"]


def test_a_slow_command_holds_the_next(line: Line) -> None:
    """The client hears so at once; both are answered, in their order."""
    line.send(b'AT+GEN="hello",200\rAT+GMR\r')
    codes, data = line.results(2)
    assert codes == ["OK", "OK"]
    assert data.count(b"\r\nbusy p...\r\n") == 1
    assert data.index(b"busy p...") < data.index(b"\r\nOK\r\n") < data.index(b"0.1.0")


@pytest.mark.parametrize("size", [1, 4096, 4097, 65536])
def test_bulk_input(line: Line, size: int) -> None:
    content = (bytes(range(256)) * 256)[:size]
    command = b'AT+FILES="write","blob.bin",%d,"%08X"' % (len(content), crc32(content))
    _, data = line.ask(command)
    assert data == b"\r\nOK\r\n\r\n>"
    line.send(content)
    codes, data = line.results(1)
    assert codes == ["OK"] and data == b"\r\nRecv %d bytes\r\n\r\nOK\r\n" % size
    assert b'+FILES: "blob.bin",%d' % size in line.ask(b"AT+FILES?")[1]
    _, data = line.ask(b'AT+FILES="read","blob.bin"')
    assert b"".join(data.split(b'"')[1::2]) == content.hex().encode()


def test_bulk_input_with_another_checksum(line: Line) -> None:
    """What was there stays."""
    for content, crc in ((b"first", crc32(b"first")), (b"other", 1)):
        line.ask(b'AT+FILES="write","a",5,"%08X"' % crc)
        line.send(content)
        codes, _ = line.results(1)
    assert codes == ["ERROR"]
    assert b'"a",5' in line.ask(b"AT+FILES?")[1]
    assert b"first".hex().encode() in line.ask(b'AT+FILES="read","a"')[1]


def test_bulk_input_in_one_go(line: Line) -> None:
    """A client that does not wait for the prompt; line ends in the data are data."""
    line.send(b'AT+FILES="write","b",4\r\r\n\r\nAT\r')
    codes, _ = line.results(3)
    assert codes == ["OK", "OK", "OK"]
    assert b"0d0a0d0a" in line.ask(b'AT+FILES="read","b"')[1]


def test_bulk_input_that_does_not_come(line: Line) -> None:
    """After ten seconds of silence the line is a command line again."""
    line.ask(b"AT+CMEE=1")
    line.ask(b'AT+FILES="write","late",5')
    line.send(b"1234")
    codes, _ = line.results(1)
    assert codes == ["+CME ERROR: 508"]
    assert line.ask(b"AT")[0] == "OK"
    assert b"late" not in line.ask(b"AT+FILES?")[1]


def test_bulk_input_without_room(line: Line) -> None:
    """What still comes of it is not taken for commands."""
    content = b"AT+CMEE=2\r" * 6000
    for name in range(9):
        line.send(b'AT+FILES="write","%d",%d\r' % (name, len(content)) + content)
        codes, _ = line.results(2)
        if codes[-1] != "OK":
            break
    assert codes == ["OK", "ERROR"]
    assert line.ask(b"AT+LORA")[0] == "ERROR"
    assert b'"%d"' % name not in line.ask(b"AT+FILES?")[1]


@pytest.mark.parametrize(
    "command",
    [
        b'AT+FILES="write","",5',
        b'AT+FILES="write","profile.json\\00x",5',
        b'AT+FILES="write","two words",5',
        b'AT+FILES="write","../main.py",5',
        b'AT+FILES="write",".hidden",5',
        b'AT+FILES="write","a",65537',
        b'AT+FILES="write","a",5,"123"',
        b'AT+FILES="write","a",5,"0000000g"',
        b'AT+FILES="append","a",5',
        b'AT+FILES="delete","none"',
    ],
)
def test_wrong_files(line: Line, command: bytes) -> None:
    assert line.ask(command)[0] == "ERROR"
    assert line.ask(b"AT")[0] == "OK"


def test_settings_are_kept(random_model: Path, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    with SimulatedBoard(random_model, storage=storage) as board, AtClient(board.port) as client:
        for command in ("AT+FALLBACK=1,300,500", "AT+CMEE=1", "AT&W", "AT+FALLBACK=0", "ATZ"):
            assert client.command(command).ok
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 1,300,500",)
    with SimulatedBoard(random_model, storage=storage) as board, AtClient(board.port) as client:
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 1,300,500",)
        assert client.command("AT+CMEE?").lines == ("+CMEE: 1",)
        assert client.command("AT&F").ok
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 3,0,0",)
        assert client.command("ATZ").ok
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 1,300,500",)


def test_consent_is_kept_at_once(random_model: Path, tmp_path: Path) -> None:
    """A withdrawal is not forgotten with the power, nor by what brings settings back."""
    config = config_without_broker(consent=1)
    unit = partial(SimulatedBoard, random_model, config=config, storage=tmp_path / "storage")
    with unit() as board, AtClient(board.port) as client:
        assert client.command("AT+SYNC?").lines == ("+SYNC: 1",)
        assert client.command("AT+CMEE=1").ok and client.command("AT+SYNC=0").ok
    with unit() as board, AtClient(board.port) as client:
        for command in ("AT", "AT&F", "ATZ"):
            assert client.command(command).ok
            assert client.command("AT+SYNC?").lines == ("+SYNC: 0",)
        assert client.command("AT+CMEE?").lines == ("+CMEE: 0",)  # that was not


def test_news_come_between_replies(random_model: Path, tmp_path: Path) -> None:
    """Of the connection to the broker: on all channels, while nothing is asked or behind the reply."""
    with Broker(tmp_path) as broker:
        config = config_with_broker(broker.port)
        broker.stop()
        with SimulatedBoard(random_model, config=config) as board, Line(board.port) as line:
            broker.start()
            line.wait_for(b"\r\n+SYNC: 0,0,1,")
            line.send(b'AT+GEN="hello",256\r')
            broker.stop()
            assert b"\r\nOK\r\n" in line.wait_for(b"\r\n+SYNC: 0,0,0,")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"+FALLBACK":[99,0,0],"E":["x"],"+CMEE":2}', b"\xff"]
)
def test_a_damaged_profile(random_model: Path, tmp_path: Path, content: bytes) -> None:
    """What cannot be used is left out; the unit starts."""
    storage = tmp_path / "storage"
    with SimulatedBoard(random_model, storage=storage) as board, Line(board.port) as line:
        line.send(b'AT+FILES="write","profile.json",%d\r' % len(content) + content)
        assert line.results(2)[0] == ["OK", "OK"]
    with SimulatedBoard(random_model, storage=storage) as board, AtClient(board.port) as client:
        assert client.command("AT+FALLBACK?").lines == ("+FALLBACK: 3,0,0",)
        assert client.command("AT+CMEE?").lines == ("+CMEE: 0",)


def test_several_channels(random_model: Path) -> None:
    """TCP and the pty at once, each with its own settings; one that leaves takes nothing with it."""
    port = free_port()
    with SimulatedBoard(random_model, config=UnitConfig({"TCP": port})) as board, AtClient(board.port) as pty:
        with AtClient(f"socket://127.0.0.1:{port}") as one, AtClient(f"socket://127.0.0.1:{port}") as two:
            for client in (one, two):
                client.wait_until_ready(PATIENCE)
            assert one.command("AT+CMEE=1").ok
            assert one.command("AT+LORA").final == "+CME ERROR: 4"
            assert two.command("AT+LORA").final == pty.command("AT+LORA").final == "ERROR"
            answers = {client.infer("is it warm").intent for client in (pty, one, two)}
            assert len(answers) == 1
        with AtClient(f"socket://127.0.0.1:{port}") as three:
            three.wait_until_ready(PATIENCE)
            assert three.command("AT").ok
        assert pty.command("AT").ok


def test_servers_that_cannot_start(random_model: Path) -> None:
    """A port that is taken, a radio that is not there: the unit answers where it can, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        config = UnitConfig({"TCP": other.getsockname()[1], "BLE": "bitnet"})
        with SimulatedBoard(random_model, config=config) as board, AtClient(board.port) as client:
            log = "\n".join(client.command("AT+LOG?").lines)
            assert '"at","[Errno 98] EADDRINUSE"' in log and "no module named 'bluetooth'" in log


def test_a_client_that_does_not_read_its_echo(random_model: Path) -> None:
    """It has to wait; the others do not."""
    port = free_port()
    with SimulatedBoard(random_model, config=UnitConfig({"TCP": port})) as board, AtClient(board.port) as pty:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as deaf:
                deaf.sendall(b"ATE1\r")
                deaf.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    for _ in range(10_000):
                        deaf.sendall(b"x" * 10_000)
                assert pty.command("AT").ok


def test_one_client_too_many(random_model: Path) -> None:
    """Takes the place of the one that has been silent longest: it may have gone without a word."""
    port = free_port()
    with SimulatedBoard(random_model, config=UnitConfig({"TCP": port})):
        address = f"socket://127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port)) as silent, AtClient(address) as second:
            second.wait_until_ready(PATIENCE)
            with AtClient(address) as third:
                third.wait_until_ready(PATIENCE)
                assert second.command("AT").ok
            silent.settimeout(5)
            assert silent.recv(100) == b"\r\nready\r\n" and silent.recv(100) == b""


def test_a_channel_waits_for_the_data_of_another(random_model: Path) -> None:
    port = free_port()
    with (
        SimulatedBoard(random_model, config=UnitConfig({"TCP": port})) as board,
        Line(board.port) as line,
        AtClient(f"socket://127.0.0.1:{port}") as other,
    ):
        other.wait_until_ready(PATIENCE)
        assert other.command('AT+FILES="write","a",4').ok
        time.sleep(0.3)  # more than 0.1, less than 10
        line.send(b"AT\r")
        assert b"busy p..." in line.results(0)[1]


def test_rules_have_a_number(line: Line) -> None:
    for _ in range(99):
        assert line.ask(b'AT+RULE=0,"lamp_on\\09 lamp"')[0] == "OK"
    assert line.ask(b'AT+RULE=0,"lamp_on\\09 lamp"')[0] == "ERROR"
    assert line.ask(b"AT+RULE=99")[0] == "OK"


def test_another_channel_waits_for_a_slow_command(large_model: Path) -> None:
    port = free_port()
    with (
        SimulatedBoard(large_model, config=UnitConfig({"TCP": port})) as board,
        Line(board.port) as slow,
        socket.create_connection(("127.0.0.1", port)) as other,
    ):
        other.settimeout(10)
        assert other.recv(100) == b"\r\nready\r\n"
        slow.send(b'AT+GEN="hello",250\r')
        slow.wait_for(b"+GEN: ")
        other.sendall(b"AT\r")
        data = b""
        while not data.endswith(b"OK\r\n"):
            data += other.recv(100)
        assert data == b"\r\nbusy p...\r\n\r\nOK\r\n"
        assert slow.results(1)[0] == ["OK"]


def test_loading_another_model_fails(board: SimulatedBoard) -> None:
    """The one before goes on."""
    with AtClient(board.port) as client:
        before = client.infer("is it warm")
        assert not client.command('AT+MODEL="/rom/none.bitnet"').ok
        after = client.infer("is it warm")
        assert (after.intent, after.confidence, after.source) == (before.intent, before.confidence, "model")


def test_a_conversation(board: SimulatedBoard) -> None:
    """Turns go on where the last one ended, past the window; another system text begins anew."""
    with AtClient(board.port) as client:

        def tokens() -> tuple[int, int]:
            turns, position = client.command("AT+CHAT?").lines[0].removeprefix("+CHAT: ").split(",")
            return int(turns), int(position)

        positions = []
        for turn in range(1, 13):
            assert client.command('AT+CHAT="is it warm in the kitchen",3').ok
            turns, position = tokens()
            assert turns == turn
            positions.append(position)
        assert positions == sorted(set(positions)) and positions[-1] > 64
        first = client.command('AT+CHAT="is it warm",3,"You are a lamp."').lines
        assert tokens()[0] == 1
        assert client.command('AT+CHAT="and now",3').ok
        assert client.command('AT+CHAT="is it warm",3,"You are a lamp."').lines == first
        assert client.command("AT+RESET").ok
        assert tokens()[0] == 0


def test_storage_stays_the_boards(board: SimulatedBoard) -> None:
    """The simulated board writes to its own file system and nowhere else."""
    before = sorted(os.listdir())
    with AtClient(board.port) as client:
        assert client.command("AT&W").ok
    assert sorted(os.listdir()) == before
