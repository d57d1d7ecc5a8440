"""`bitnet-cli demo` and `bitnet-cli sim` as a user runs them."""

import json
import os
import signal
import subprocess
from pathlib import Path

from bitnet_cli.boards.at import AtClient
from bitnet_cli.measure.reference import REFERENCE_PHRASES
from support.command_line import BITNET_CLI, run
from support.patience import PATIENCE


def test_prints_exchanges(random_model: Path) -> None:
    done = run("demo", "--model", random_model)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for phrase in REFERENCE_PHRASES:
        assert f'> AT+INFER="{phrase}"' in lines
    assert sum(line.startswith("< +INFER: ") for line in lines) == len(REFERENCE_PHRASES)
    assert lines.count("< OK") == len(REFERENCE_PHRASES)


def test_json(random_model: Path) -> None:
    phrases = ["What's the temp?", 'say "ö" \\ \n', "Wärme 北京"]
    done = run("demo", "--model", random_model, "--json", *phrases)
    assert done.returncode == 0, done.stderr
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["phrase"] for answer in objects] == phrases
    for answer in objects:
        keys = "phrase intent confidence slots source latency_ms prompt_tokens age"
        assert sorted(answer) == sorted(keys.split())
        assert answer["source"] == "model"


def test_interactive(random_model: Path) -> None:
    typed = "is it warm\n\n" + "x" * 300 + "\nlights on\n"
    done = run("demo", "--model", random_model, "--interactive", "--json", typed=typed)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line)["phrase"] for line in done.stdout.splitlines()]
    assert answers == ["is it warm", "lights on"]
    assert "300 bytes" in done.stderr


def test_refusals(random_model: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bitnet"
    bad.write_bytes(random_model.read_bytes()[:-1])
    for arguments, reason in [
        (["--model", random_model, "x" * 300], "shorten"),
        (["--model", random_model, "x" * 250], "shorten"),
        (["--model", random_model, ""], "empty"),
        (["--model", tmp_path / "none.bitnet"], "cannot read the model"),
        (["--model", bad], "bytes are missing"),
    ]:
        done = run("demo", *arguments)
        assert done.returncode == 2
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_sim(random_model: Path) -> None:
    command = [*BITNET_CLI, "sim", "--json", "--model", str(random_model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            with AtClient(port) as client:
                assert client.command("AT").ok
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
        finally:
            process.kill()  # a test run in the background has SIGINT ignored, and must not hang for it
    assert not os.path.exists(port)
