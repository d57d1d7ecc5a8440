"""Commands as a user runs them: what they print, and that bad input costs one line and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bitnet_cli.cli import main
from bitnet_cli.model import modelfile
from bitnet_cli.phrases.phrases import Phrase
from safetensors.torch import load_file, save_file


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> Done:
        status = main([str(argument) for argument in arguments])
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def checkpoint(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))


@pytest.fixture(scope="session")
def phrase_file(held_out: list[Phrase], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phrases") / "some.jsonl"
    rows = [{"text": p.text, "intent": p.intent, "slots": p.slots} for p in held_out]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(done: Done, command: str, message: str) -> None:
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(f"bitnet-cli {command}: ")
    assert done.err.count("\n") == 1 and done.err.endswith("\n")
    assert message in done.err


# --- export ---


def test_export(cli: Cli, tiny_folder: Path, phrase_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "tiny.bitnet"
    done = cli("export", "--model", tiny_folder, "--output", output)
    assert (done.status, done.err) == (0, "")
    size = output.stat().st_size
    assert f"{size:,} bytes  {output}" in done.out
    assert modelfile.read(output.read_bytes()).metadata["name"] == "tiny"

    done = cli("export", "--model", tiny_folder, "--output", output, "--test", phrase_file, "--json")
    assert (done.status, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["bytes"] == size and report["file"] == str(output)
    assert sum(report["parts"].values()) == size
    assert report["agreement"]["share"] >= 0.995
    assert set(report["integers"]) >= {"accuracy", "exact_match", "phrases"}

    done = cli("export", "--model", tiny_folder, "--output", output, "--test", phrase_file)
    assert done.status == 0
    assert "integers choose as floats do" in done.out
    assert [path.name for path in output.parent.iterdir()] == ["tiny.bitnet"]


def test_export_names_rules_that_may_be_of_another_model(cli: Cli, tiny_folder: Path, tmp_path: Path) -> None:
    rules = tmp_path / "tiny.rules"
    rules.write_text("old\t old \n")
    done = cli("export", "--model", tiny_folder, "--output", tmp_path / "tiny.bitnet")
    assert done.status == 0
    assert done.err.startswith("bitnet-cli export: warning: ") and done.err.count("\n") == 1
    assert f"{rules} is there already" in done.err
    assert rules.read_text() == "old\t old \n"


@pytest.mark.parametrize(("weights", "weight_type"), [("1", 1), ("1.58", 2)])
def test_export_quantizes_as_asked(
    cli: Cli, tiny_folder: Path, tmp_path: Path, weights: str, weight_type: int
) -> None:
    output = tmp_path / "tiny.bitnet"
    options = ("--quantize-weight", weights, "--quantize-activation", 4)
    assert cli("export", "--model", tiny_folder, "--output", output, *options).status == 0
    config = modelfile.read(output.read_bytes()).config
    assert (config.weight_type, config.activation_bits) == (weight_type, 4)


def test_export_warns_if_integers_and_floats_differ(
    cli: Cli, tiny_folder: Path, phrase_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitnet_cli.training.export.WANTED_AGREEMENT", 1.01)
    output = tmp_path / "tiny.bitnet"
    done = cli("export", "--model", tiny_folder, "--output", output, "--test", phrase_file, "--json")
    assert done.status == 0
    assert json.loads(done.out)["bytes"] == output.stat().st_size
    assert done.err.startswith("bitnet-cli export: warning: integers and floats agree on ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_export_needs_all_files(cli: Cli, checkpoint: Path, tmp_path: Path, missing: str) -> None:
    (checkpoint / missing).unlink()
    done = cli("export", "--model", checkpoint, "--output", tmp_path / "out.bitnet")
    assert_refused(done, "export", f"no {missing} here")
    assert not (tmp_path / "out.bitnet").exists()


def drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    return lambda config: [config.pop(key) for key in keys] and None


def put(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    """put("a.b", value)"""

    def change(config: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for name in path:
            config = config[name]
        config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("model_type", "llama"), "model_type is 'llama'"),
        (drop("model_type"), "model_type is None"),
        (put("hidden_act", "silu"), "hidden_act is 'silu'"),
        (drop("bitnet_cli"), "no section `bitnet_cli`"),
        (drop("hidden_size"), "'hidden_size' is missing"),
        (put("hidden_size", "many"), "'many'"),
        (put("hidden_size", None), "NoneType"),
        (put("hidden_size", 64), "does not fit config.json"),
        (put("hidden_size", 30), "must divide hidden_size"),
        (put("hidden_size", 4096), "hidden_size is 4096"),
        (put("hidden_size", 0), "hidden_size is 0"),
        (put("num_attention_heads", 0), "num_heads (0) must divide hidden_size"),
        (put("num_attention_heads", 32), "head_dim is 1"),
        (put("num_key_value_heads", 3), "must divide num_heads"),
        (put("num_hidden_layers", 2), "does not fit config.json"),
        (put("vocab_size", 601), "vocab_size is 601"),
        (put("rope_theta", 0), "rope_theta is 0"),
        (put("rope_theta", float("nan")), "rope_theta is nan"),
        (put("bitnet_cli.weight_type", "float"), "'float' is missing or not understood"),
        (put("bitnet_cli.window", 1000), "window is 1000"),
        (put("bitnet_cli.activation_bits", 3), "activation_bits is 3"),
        (put("bitnet_cli.name", 5), "`bitnet_cli`"),
        (put("bitnet_cli.labels", {}), "`bitnet_cli`"),
        (put("bitnet_cli.labels", [1]), "`bitnet_cli`"),
        (put("bitnet_cli.labels.first_intent", 7), "do not match"),
        (put("bitnet_cli.labels.intents", ["one"]), "not declared"),
        (put("bitnet_cli.labels.intents", 5), "`bitnet_cli`"),
        (put("bitnet_cli.labels.threshold", 2000), "threshold is 2000"),
    ],
)
def test_export_refuses_a_config_it_does_not_know(
    cli: Cli, checkpoint: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    output = tmp_path / "out.bitnet"
    output.write_bytes(b"old")
    done = cli("export", "--model", checkpoint, "--output", output)
    assert_refused(done, "export", message)
    assert str(checkpoint) in done.err
    assert output.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "not JSON"),
        ("config.json", b"\xff", "not JSON"),
        ("config.json", b"[]", "model_type"),
        ("model.safetensors", b"", "does not fit config.json"),
        ("model.safetensors", b"\x10" * 100, "does not fit config.json"),
        ("tokenizer.json", b"{}", "not a tokenizer"),
    ],
)
def test_export_refuses_a_damaged_file(
    cli: Cli, checkpoint: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (checkpoint / name).write_bytes(content)
    done = cli("export", "--model", checkpoint, "--output", tmp_path / "out.bitnet")
    assert_refused(done, "export", message)
    assert not (tmp_path / "out.bitnet").exists()


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_export_refuses_truncated_weights(cli: Cli, checkpoint: Path, tmp_path: Path, keep: float) -> None:
    path = checkpoint / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    done = cli("export", "--model", checkpoint, "--output", tmp_path / "out.bitnet")
    assert_refused(done, "export", "model.safetensors")


def test_export_refuses_weights_that_are_no_numbers(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, path)
    done = cli("export", "--model", checkpoint, "--output", tmp_path / "out.bitnet")
    assert_refused(done, "export", "model.norm.weight")


def test_export_refuses_a_tokenizer_of_another_model(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "tokenizer.json"
    path.write_text(path.read_text().replace("intent:light_on", "intent:light_up"))
    done = cli("export", "--model", checkpoint, "--output", tmp_path / "out.bitnet")
    assert_refused(done, "export", "tokenizer")


@pytest.mark.parametrize("place", ["a_folder", "a_file/out.bitnet"])
def test_export_to_where_nothing_can_be_written(
    cli: Cli, tiny_folder: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "a_folder" / "kept").write_text("kept")
    (tmp_path / "a_file").write_text("kept")
    before = files(tmp_path)
    done = cli("export", "--model", tiny_folder, "--output", tmp_path / place)
    assert_refused(done, "export", "cannot be written")
    assert files(tmp_path) == before


def test_a_write_that_fails_keeps_the_old_file(
    cli: Cli, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "tiny.bitnet"
    output.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = cli("export", "--model", tiny_folder, "--output", output)
    assert_refused(done, "export", "No space left")
    assert files(tmp_path) == {"tiny.bitnet": b"old"}


# --- train ---

PHRASES = "text,intent,slots\n" + "".join(
    f'lamp {i} on,on,"{{""lamp"": {i}}}"\nlamp {i} off,off,\nwhat about {i},unknown,\n' for i in range(20)
)
QUICK = ("--no-teacher", "--steps", 6, "--hidden-size", 16, "--intermediate-size", 16, "--layers", 1)


@pytest.fixture
def phrases(tmp_path: Path) -> Path:
    path = tmp_path / "lamps.csv"
    path.write_text(PHRASES)
    return path


def test_train(cli: Cli, phrases: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "lamps"
    done = cli("train", phrases, "--output", output, *QUICK)
    assert done.status == 0
    assert "held-out phrases      6" in done.out and str(output) in done.out
    names = "config.json confusion.png model.safetensors report.json report.txt rules.txt tokenizer.json"
    assert sorted(files(output)) == names.split()
    assert (output / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((output / "report.json").read_text())["phrases"] == 6

    done = cli("train", phrases, "--output", output, *QUICK, "--weights", "binary", "--json")
    assert done.status == 0
    assert json.loads(done.out)["phrases"] == 6
    assert cli("export", "--model", output, "--output", tmp_path / "lamps.bitnet").status == 0
    model = modelfile.read((tmp_path / "lamps.bitnet").read_bytes())
    assert (model.config.weight_type, model.metadata["name"]) == (1, "lamps")
    assert (tmp_path / "lamps.rules").read_bytes() == (output / "rules.txt").read_bytes()


def test_rules(cli: Cli, phrases: Path, tmp_path: Path) -> None:
    output = tmp_path / "lamps.rules"
    done = cli("rules", phrases, "--output", output)
    size = output.stat().st_size
    assert (done.status, done.out) == (0, f"3 lines, {size:,} bytes  {output}\n")
    assert {line.split("\t")[0] for line in output.read_text().splitlines()[1:]} == {"on", "off", "=lamp"}
    assert "rules of intents: 100%" in done.err
    assert_refused(cli("rules", tmp_path / "none", "--output", output), "rules", "no such file or folder")


def test_rules_find_out_first_that_nothing_can_be_written(cli: Cli, phrases: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    for output in (phrases / "lamps.rules", tmp_path):
        done = cli("rules", phrases, "--output", output)
        assert_refused(done, "rules", "cannot be written")
    assert files(tmp_path) == before


def test_rules_name_templates_that_are_left_out(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("intents: {on: {data: [{sentences: ['<gone> on', 'light on', 'lamp on']}]}}")
    done = cli("rules", path, "--output", tmp_path / "some.rules")
    assert done.status == 0
    assert done.err.splitlines()[0].startswith("bitnet-cli rules: ") and "gone" in done.err.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,intent\n", "has no phrases"),
        ("a.jsonl", "", "has no phrases"),
        ("a.yaml", "", "has no phrases"),
        ("a.yaml", "intents: {a: {data: [{sentences: ['<x>']}]}}", "no phrases"),
        ("a.yaml", "intents: [", "not readable as YAML"),
        ("a.txt", "hello", "end in .yaml, .jsonl or .csv"),
        ("a.csv", "text,intent\nhello,a\n", "one phrase"),
        ("missing", None, "no such file or folder"),
    ],
)
def test_train_refuses_bad_phrases(
    cli: Cli, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    done = cli("train", path, "--output", tmp_path / "out", *QUICK)
    refusal = done._replace(err=done.err.splitlines(keepends=True)[-1])  # templates left out are named before
    assert_refused(refusal, "train", message)
    assert all(line.startswith("bitnet-cli train: ") for line in done.err.splitlines())
    assert not (tmp_path / "out").exists()


def test_train_refuses_bad_test_phrases_before_it_trains(cli: Cli, phrases: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text('{"text": "sing", "intent": "sing"}\n')
    done = cli("train", phrases, "--output", tmp_path / "out", "--test", test, *QUICK)
    assert_refused(done, "train", "'sing'")
    done = cli("train", phrases, "--output", tmp_path / "out", "--test", tmp_path / "none.csv", *QUICK)
    assert_refused(done, "train", "none.csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden-size", 30), "must divide hidden_size"),
        (("--hidden-size", 4), "hidden_size is 4"),
        (("--hidden-size", 12), "head_dim is 3"),
        (("--hidden-size", 2048), "hidden_size is 2048"),
        (("--layers", 0), "num_layers is 0"),
        (("--vocabulary", 200), "vocabulary"),
        (("--vocabulary", 99999), "vocab"),
        (("--threshold", 1001), "threshold is 1001"),
        (("--steps", 0), "steps"),
    ],
)
def test_train_refuses_sizes_before_it_trains(
    cli: Cli, phrases: Path, tmp_path: Path, options: tuple[str, int], message: str
) -> None:
    done = cli("train", phrases, "--output", tmp_path / "out", *QUICK, *options)
    assert_refused(done, "train", message)
    assert not (tmp_path / "out").exists()


def test_train_to_where_nothing_can_be_written(cli: Cli, phrases: Path, tmp_path: Path) -> None:
    """Found out before the training, not after it."""
    before = files(tmp_path)
    for output in (phrases, phrases / "out"):
        done = cli("train", phrases, "--output", output, *QUICK)
        assert_refused(done, "train", "cannot be written")
    assert files(tmp_path) == before


# --- bench ---


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.bitnet"
    assert main(["export", "--model", str(tiny_folder), "--output", str(path)]) == 0
    return path


def test_bench_accuracy(cli: Cli, tiny_model: Path, phrase_file: Path) -> None:
    done = cli("bench", "accuracy", phrase_file, "--model", tiny_model, "--json")
    assert (done.status, done.err) == (0, "")
    figures = json.loads(done.out)
    assert figures["phrases"] == 300 and figures["bytes"] == tiny_model.stat().st_size
    assert 0.5 < figures["intent"] <= 1 and 0 < figures["exact_match"] <= figures["intent"]
    assert figures["out_of_scope_recall"] > 0.5
    done = cli("bench", "accuracy", phrase_file, "--model", tiny_model, "--errors")
    assert f"intent accuracy       {figures['intent']:.2%}" in done.out
    assert ", not " in done.out.splitlines()[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:40], "truncated"),
        (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "damaged"),
        (lambda data: b"", "truncated"),
        (lambda data: None, "cannot read"),
    ],
    ids=["truncated", "header only", "bit flipped", "empty", "missing"],
)
def test_bench_accuracy_refuses_a_damaged_model(
    cli: Cli,
    tiny_model: Path,
    phrase_file: Path,
    tmp_path: Path,
    damage: Callable[[bytes], bytes | None],
    message: str,
) -> None:
    path = tmp_path / "damaged.bitnet"
    data = damage(tiny_model.read_bytes())
    if data is not None:
        path.write_bytes(data)
    done = cli("bench", "accuracy", phrase_file, "--model", path, "--json")
    assert_refused(done, "bench", message)


def test_bench_accuracy_refuses_bad_phrases(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text("")
    assert_refused(cli("bench", "accuracy", path, "--model", tiny_model), "bench", "has no phrases")
    path.write_text(json.dumps({"text": "x" * 300, "intent": "a"}))
    assert_refused(cli("bench", "accuracy", path, "--model", tiny_model), "bench", "shorten")


# --- the command line itself ---


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--help"],
        *([name, "--help"] for name in ("demo", "sim", "train", "export", "bench")),
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        assert "usage: bitnet-cli" in capsys.readouterr().out


def test_a_wrong_command_line_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["nothing"], ["export"], ["train", "x", "--output", "y", "--layers", "two"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "usage: bitnet-cli" in capsys.readouterr().err
