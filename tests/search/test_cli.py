"""The command line: its frozen words, its light imports, and one line for each mistake of a user."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from repareto.search import cli
from repareto.search.ledger import Ledger

GOOD = "study: s\ndata: {source: digits}\nspace: {name: repcnn}\n"

# A change here is a change of what users have written into their scripts: it needs a line in CHANGELOG.md.
PLACES = {"--store": ("option", False), "--ledger": ("option", False)}
COMMANDS = {
    "init": {"config": ("argument", True), "--force": ("flag", False)},
    "doctor": dict(PLACES),
    "schema": {},
    "search": {
        "config": ("argument", True),
        "--set": ("option", False),
        "--trials": ("option", False),
        "--time-budget": ("option", False),
    },
    "launch": {
        "config": ("argument", True),
        "--address": ("option", True),
        "--set": ("option", False),
        "--trials": ("option", False),
        "--time-budget": ("option", False),
        "--detach": ("flag", False),
        "--install": ("flag", False),
    },
    "status": {"study": ("argument", True), **PLACES, "--address": ("option", False)},
    "stop": {"study": ("argument", True), **PLACES, "--address": ("option", False)},
    "sync": {
        "study": ("argument", True),
        "--tracking": ("option", False),
        **PLACES,
        "--address": ("option", False),
    },
    "front": {
        "study": ("argument", True),
        "--json": ("flag", False),
        "--html": ("option", False),
        **PLACES,
        "--address": ("option", False),
    },
    "report": {"study": ("argument", True), "--out": ("option", True), **PLACES},
    "compare": {
        "studies": ("argument", True),
        "--html": ("option", False),
        "--json": ("flag", False),
        "--log": ("flag", False),
        **PLACES,
    },
    "export": {
        "study": ("argument", True),
        "--out": ("option", True),
        "--trial": ("option", False),
        "--operating-point": ("option", False),
        "--max": ("option", False),
        "--knee": ("flag", False),
        "--weights": ("option", False),
        "--choose": ("flag", False),
        "--retrain": ("option", False),
        "--seeds": ("option", False),
        "--format": ("option", False),
        "--sparse-weights": ("flag", False),
        "--without-data": ("flag", False),
        "--force": ("flag", False),
        **PLACES,
    },
    "import": {
        "FILE.py:FUNCTION": ("argument", True),
        "--input": ("option", True),
        "--out": ("option", False),
        "--device": ("option", False),
        "--labels": ("option", False),
        "--samples": ("option", False),
        "--format": ("option", False),
        "--force": ("flag", False),
    },
    "prune": {
        "MODEL": ("argument", True),
        "--target": ("option", True),
        "--out": ("option", True),
        "--method": ("option", False),
        "--granularity": ("option", False),
        "--epochs": ("option", False),
        "--data": ("option", False),
        "--trial": ("option", False),
        "--sparse-weights": ("flag", False),
        "--force": ("flag", False),
        **PLACES,
    },
    "stream": {
        "folder": ("argument", True),
        "sound": ("argument", True),
        "--rate": ("option", False),
        "--threshold": ("option", False),
        "--smoothing": ("option", False),
        "--pause": ("option", False),
        "--json": ("flag", False),
    },
    "predict": {
        "folder": ("argument", True),
        "files": ("argument", True),
        "--operating-point": ("option", False),
        "--json": ("flag", False),
    },
    "enroll": {
        "folder": ("argument", True),
        "--data": ("option", True),
        "--false-alarms": ("option", False),
    },
    "personalize": {
        "folder": ("argument", True),
        "--data": ("option", True),
        "--labels": ("option", False),
        "--seed": ("option", False),
    },
    "download": {
        "recordings": ("argument", True),
        "folder": ("argument", True),
        "--url": ("option", False),
        "--sha256": ("option", False),
    },
    "devices": {"--json": ("flag", False)},
    "profile": {
        "MODEL": ("argument", True),
        "--device": ("option", False),
        "--layers": ("flag", False),
        "--memory-map": ("option", False),
        "--against": ("option", False),
        "--measure": ("flag", False),
        "--json": ("flag", False),
        "--set": ("option", False),
    },
    "calibrate": {"--device": ("option", False)},
    "ui": {"--port": ("option", False), "--store": ("option", False)},
}


@pytest.fixture
def repareto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line in an empty folder; return exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPARETO_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repareto", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def refused(repareto):
    """Return the one line on standard error with which a command line is refused."""

    def refused(*arguments: str) -> str:
        code, out, err = repareto(*arguments)
        assert code == 2
        assert out == ""
        assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
        return err.strip().removeprefix("error: ")

    return refused


def described(parameter: click.Parameter) -> tuple[str, tuple[str, bool]]:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name or "", ("argument", parameter.required)
    kind = "flag" if getattr(parameter, "is_flag", False) else "option"
    return parameter.opts[0], (kind, parameter.required)


def test_the_commands_and_their_options_are_frozen() -> None:
    group = typer.main.get_command(cli.app)
    found = {name: dict(map(described, command.params)) for name, command in group.commands.items()}
    assert found == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_every_option(repareto, command: str) -> None:
    code, out, _ = repareto(command, "--help")
    assert code == 0
    assert f"Example: repareto {command}" in out
    assert all(name in out for name in COMMANDS[command] if name.startswith("--"))


def test_help_lists_the_commands(repareto) -> None:
    code, out, _ = repareto("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)


IMPORTS = {
    "repareto.search.cli": ("torch", "ray", "mlflow", "optuna", "pydantic", "matplotlib", "numpy"),
    "repareto.spaces": ("torch", "ray", "mlflow", "optuna"),
    "repareto.search.exits.runner": ("torch", "ray", "mlflow", "optuna"),
    "from repareto.spaces import RepCNN": ("ray", "mlflow", "optuna"),
    "repareto": ("torch", "ray", "mlflow", "optuna", "numpy"),
}


@pytest.mark.parametrize("what", IMPORTS)
def test_an_import_pulls_in_no_more_than_it_must(what: str) -> None:
    statement = what if what.startswith("from") else f"import {what}"
    code = f"import sys; {statement}; print(*[name for name in {IMPORTS[what]} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_spaces_package_gives_all_it_names() -> None:
    import repareto.spaces

    names = [name for names in repareto.spaces._HOMES.values() for name in names]
    assert all(getattr(repareto.spaces, name).__name__ for name in names)
    with pytest.raises(AttributeError, match="no attribute 'RepCN'"):
        _ = repareto.spaces.RepCN


def test_as_a_program() -> None:
    """Once for real: the installed console script, its exit code and its one line."""
    program = Path(sys.executable).with_name("repareto")
    done = subprocess.run([program, "search", "/nowhere/c.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: /nowhere/c.yaml: cannot be read (No such file or directory)\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (GOOD + "trails: 3\n", (), "c.yaml:4: trails: unknown key (known: "),
        (GOOD + "search:\n  trails: 3\n", (), "c.yaml:5: search.trails: unknown key (did you mean trials?)"),
        (GOOD + "budgets:\n  latency: 2 mss\n", (), 'c.yaml:5: budget latency "2 mss": not a duration (try "2 ms")'),
        ("study: [", (), "c.yaml:1: not YAML: "),
        ("study: s\n", (), "c.yaml:1: data: this key is needed"),
        (GOOD, ("--set", "search.trials=x"), "--set: search.trials 'x': input should be a valid integer"),
        (GOOD, ("--set", "search.trials"), '--set "search.trials": not of the form key=value'),
        (GOOD, ("--time-budget", "ten"), '--time-budget "ten": not a duration (try "2 ms")'),
        (GOOD, ("--time-budget", "0s"), '--time-budget "0s": a duration must be positive'),
        (
            GOOD,
            ("--set", "space.name=repcn"),
            "space 'repcn' is unknown (did you mean repcnn?; your own: package.module:Class)",
        ),
        (GOOD, ("--set", "space.widht=3"), "space.widht: repcnn has no such dimension (did you mean width?)"),
        (GOOD, ("--set", "space.width=5"), "space.width: 5 is not within [4, 96] in steps of 4"),
        (GOOD, ("--set", "space.name=no.such:Space"), "space 'no.such:Space' cannot be imported: No module named"),
        (GOOD, ("--set", "data.source=digit"), "digit"),
        (GOOD, ("--set", "data.zzz=1"), "data.zzz: unknown key ("),
        (GOOD, ("--set", "training.epoch=1"), "training.epoch: unknown key (did you mean epochs?)"),
        (GOOD, ("--set", "training.epochs=many"), "training.epochs 'many': input should be a valid integer"),
        (GOOD, ("--set", "space.front_end.bands=[20, 40]"), "space.front_end: data source Digits has no log_mel to ch"),
        (GOOD, ("--set", "space.front_end={}"), "space.front_end {}: must be fields with their options (try bands"),
        (GOOD, ("--set", "device=toaster"), 'device "toaster" is unknown'),
    ],
)
def test_a_search_that_cannot_begin(refused, tmp_path: Path, text: str, arguments, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    assert message in refused("search", "c.yaml", *arguments)
    assert not (tmp_path / "runs" / "studies").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("search",),
        ("search", "c.yaml", "--trials", "0"),
        ("search", "c.yaml", "--trials", "many"),
        ("search", "c.yaml", "--trails", "3"),
        ("front",),
        ("export", "s"),
        ("ui", "--port", "0"),
        ("ui", "--port", "65536"),
        ("frnt", "s"),
    ],
)
def test_a_command_line_that_is_not_one(repareto, arguments: tuple[str, ...]) -> None:
    code, out, err = repareto(*arguments)
    assert code == 2
    assert out == ""
    assert "Usage: " in err and "--help" in err and "Traceback" not in err


@pytest.fixture
def store(lab, tmp_path: Path) -> Path:
    """A store with the study ``toy``, of four trials trained in full."""
    header = lab.header()
    header["config"] = {
        "study": "toy", "data": {"source": "digits"}, "space": {"name": "repcnn"}, "budgets": {"latency": "1ms"},
    }  # fmt: skip
    Ledger.create(tmp_path / "runs", "study", header)
    lab.drive(lab.study(tmp_path / "runs", trials=4))
    return tmp_path / "runs"


@pytest.mark.parametrize("command", [("front", "x"), ("export", "x", "--out", "o"), ("ui",)])
def test_a_missing_store(refused, tmp_path: Path, command: tuple[str, ...]) -> None:
    assert refused(*command).startswith("runs: no ")
    assert refused(*command, "--store", "nowhere").startswith("nowhere: no ")
    assert not (tmp_path / "nowhere").exists() and not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", [("front", "x"), ("export", "x", "--out", "o")])
def test_an_unknown_study(refused, command: tuple[str, ...]) -> None:
    assert refused(*command) == 'study "x" is not in runs (known: study)'


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max", "latency"), '--max "latency": not of the form objective=bound (try --max latency=2ms)'),
        (("--max", "latency=2"), 'budget latency "2": not a duration (try "2 ms")'),
        (("--max", "latncy=2ms"), "objective 'latncy' is unknown (did you mean latency?)"),
        (("--max", "latency=1ns"), "no model of the front holds the bounds; the closest one is trial "),
        (("--trial", "9"), "trial 9: there is none of that number (0 to 3)"),
        (("--trial", "1", "--knee"), "--trial and --knee: each chooses the model (give one of them)"),
        (("--weights", "eror=1"), '--weights "eror=1": eror is no objective of the study (did you mean error?)'),
        (("--seeds", "3"), "--seeds 3: are those of --retrain (say for how many epochs, such as --retrain 40)"),
        (("--retrain", "3", "--without-data"), "--without-data: --retrain needs the study's data"),
    ],
)
def test_an_export_that_cannot_be(refused, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert refused("export", "study", "--out", "o", *arguments).startswith(message)
    assert not (tmp_path / "o").exists()


@pytest.mark.usefixtures("store")
def test_an_export_onto_something_or_without_weights(refused, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    assert refused("export", "study", "--out", "o") == "o exists; name another folder, or add --force to replace it"
    assert "its weights are gone" in refused("export", "study", "--out", "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("speech_comands", "f"), "download 'speech_comands': no such recordings; did you mean speech_commands?"),
        (("speech_commands", "f", "--url", "ftp://a"), "--url ftp://a: must begin with http:// or https://"),
        (("speech_commands", "c.yaml"), "c.yaml: already there, but no Speech Commands (it is a file)"),
    ],
)
def test_a_download_that_cannot_be(refused, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    assert message in refused("download", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_a_download_that_has_been_made(repareto, tmp_path: Path) -> None:
    for name in ("testing_list.txt", "validation_list.txt", "yes/a.wav"):
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    code, out, err = repareto("download", "speech_commands", "recordings", "--url", "http://127.0.0.1:1/never-asked")
    assert (code, out, err) == (0, f"{tmp_path / 'recordings'}: already there\n", "")


def test_a_download_from_nowhere(refused) -> None:
    """Nothing can listen on port 0."""
    message = refused("download", "speech_commands", "f", "--url", "http://127.0.0.1:0/a.tar.gz")
    assert message.startswith("http://127.0.0.1:0/a.tar.gz: cannot be reached (")


@pytest.mark.parametrize("name", ["missing.onnx", "missing.pt2", "missing.yaml", "model.txt"])
def test_a_model_that_cannot_be_profiled(refused, name: str) -> None:
    assert name in refused("profile", name)


def test_a_profile_on_no_known_device(refused, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    assert refused("profile", "c.yaml", "--device", "refrence").startswith(
        'device "refrence" is unknown (did you mean reference?)'
    )
    assert refused("profile", "m.onnx", "--device", "refrence").startswith(
        'device "refrence" is unknown (did you mean reference?)'
    )


def test_the_front_as_a_table_as_json_and_as_a_page(repareto, store: Path) -> None:
    code, out, err = repareto("front", "study")
    assert code == 0 and err == ""
    assert "of 4 models trained in full" in out
    code, out, _ = repareto("front", "study", "--json", "--store", str(store))
    assert code == 0
    assert json.loads(out)["trials"]["finished"] == 4
    code, out, err = repareto("front", "study", "--html", "f.html")
    assert code == 0 and out == "" and err == "wrote f.html\n"
    assert 'id="document"' in Path("f.html").read_text()
    code, out, err = repareto("front", "study", "--html", "f.html", "--json")
    assert json.loads(out)["study"] == "study"


@pytest.mark.usefixtures("store")
def test_the_store_may_come_from_the_environment(repareto, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.rename(store.with_name("elsewhere"))
    monkeypatch.setenv("REPARETO_STORE", "elsewhere")
    assert repareto("front", "study", "--json")[0] == 0


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("path", ["no/such/folder/f.html", "."])
def test_a_page_that_cannot_be_written(refused, path: str) -> None:
    assert path in refused("front", "study", "--html", path)


def test_a_profile_of_a_config_on_the_reference_device(repareto, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    code, out, err = repareto("profile", "c.yaml", "--device", "reference", "--set", "space.width=8")
    assert code == 0 and err == ""
    assert "reference (none, fp32)" in out and '"stage1.width":8' in out
    assert all(figure in out for figure in ("latency_us", "peak_memory_bytes", "flash_bytes", "macs", "parameters"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two networks as ``.onnx`` and ``.pt2``: one twice as wide and with a pad of its own."""
    import torch
    from torch import nn

    from repareto.search.devices.host.onnx_runtime import export_onnx

    folder = tmp_path_factory.mktemp("models")
    example = torch.zeros(2, 1, 8, 8)
    heads = {
        "narrow": [nn.Conv2d(1, 16, 3, stride=2, padding=1)],
        "wide": [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 32, 3, stride=2)],
    }
    for name, head in heads.items():
        classifier = nn.Linear(head[-1].out_channels, 3)
        net = nn.Sequential(*head, nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), classifier).eval()
        export_onnx(net, example, folder / f"{name}.onnx")
        shapes = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(net, (example,), dynamic_shapes=shapes), folder / f"{name}.pt2")
    return folder


@pytest.fixture
def models(exported: Path, tmp_path: Path) -> None:
    """The models of ``exported`` in the folder that commands run in."""
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)


@pytest.mark.usefixtures("models")
# The convolution's 512 values, and its input: of 81 values after a pad of its own, which the export to ONNX folds away.
@pytest.mark.parametrize(
    ("suffix", "live", "taken"), [(".onnx", "2.25 KiB", "2.25 KiB"), (".pt2", "2.316 KiB", "2.328 KiB")]
)
def test_a_profile_with_layers_and_map(repareto, suffix: str, live: str, taken: str) -> None:
    code, out, err = repareto(
        "profile", f"wide{suffix}", "--device", "reference", "--layers", "--memory-map", "map.svg"
    )
    assert code == 0 and err == "wrote map.svg\n"
    assert "reference (none, fp32)" in out and "layers, in the order they run" in out
    rows = [line for line in out.splitlines() if f"peak {live}" in line]
    assert len(rows) == 1 and "1x32x4x4" in rows[0]
    assert f"activations take {taken}, at least {taken} however arranged" in out
    assert f"wide{suffix} on reference" in Path("map.svg").read_text()


@pytest.mark.usefixtures("models")
def test_a_profile_against_another_model_and_another_device(repareto) -> None:
    code, out, _ = repareto("profile", "narrow.onnx", "--device", "reference", "--against", "wide.onnx")
    assert code == 0
    assert "narrow.onnx against wide.onnx" in out
    macs = next(line for line in out.splitlines()[::-1] if "macs" in line)
    assert [field.strip() for field in macs.strip("│").split("│")] == ["macs", "2.352 k", "4.704 k", "2", ""]
    code, out, _ = repareto("profile", "narrow.onnx", "--device", "reference", "--against", "reference")
    assert code == 0
    assert [line for line in out.splitlines() if "latency_us" in line][-1].count("equal") == 1


@pytest.mark.usefixtures("models")
def test_a_profile_as_json(repareto) -> None:
    options = ("--device", "reference", "--against", "narrow.onnx", "--json", "--memory-map", "m.html")
    code, out, err = repareto("profile", "wide.onnx", *options)
    assert code == 0 and err == "wrote m.html\n"
    data = json.loads(out)
    assert data["model"] == "wide.onnx" and data["candidate"] is None
    assert data["profile"]["macs"]["value"] == sum(layer["macs"] for layer in data["layers"]) == 4704
    peak = next(layer for layer in data["layers"] if layer["makes_peak"])
    assert data["memory"]["peak_layer"] == peak["name"]
    assert data["memory"]["activation_bytes"] >= data["memory"]["lower_bound_bytes"] >= peak["live_bytes"]
    assert data["against"]["model"] == "narrow.onnx"
    assert data["against"]["differences"]["macs"] == {"ratio": 0.5, "note": ""}


def test_a_profile_of_a_config_as_json_says_what_it_loads_elsewhere(repareto, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    code, out, err = repareto("profile", "c.yaml", "--device", "reference", "--json", "--set", "space.width=8")
    assert code == 0
    assert json.loads(out)["candidate"]["stage1.width"] == 8
    assert err.startswith("data: digits, ")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wide.pt2", "--measure"), "--measure: reference measures fp32 .onnx files (give one; "),
        (("wide.onnx", "--memory-map", "m.png"), '--memory-map m.png: not a picture by its suffix ".png"'),
        (("wide.onnx", "--memory-map", "no/m.svg"), "--memory-map no/m.svg: cannot be written"),
        (
            ("wide.onnx", "--against", "refrence"),
            "--against refrence: neither a model file nor a config; as a device: ",
        ),
        (("wide.onnx", "--against", "no.onnx"), "no.onnx: no such file"),
        (("model.txt",), 'model.txt: cannot profile a ".txt" file (give a .pt2, .onnx or .tflite model, or a config)'),
    ],
)
def test_a_profile_that_cannot_be(refused, arguments: tuple[str, ...], message: str) -> None:
    assert refused("profile", "--device", "reference", *arguments).startswith(message)


@pytest.mark.usefixtures("models")
def test_a_profile_on_a_microcontroller_and_on_an_accelerator(repareto, tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    code, out, err = repareto("profile", "narrow.pt2", "--device", "cortex-m4", "--layers", "--against", "wide.pt2")
    assert code == 0 and err == ""
    assert "cortex-m4 (tflite-micro, int8)" in out and "CONV_2D + RELU" in out
    # Padding that TFLite does not know costs a buffer; the other model pads as SAME does.
    advice = out[out.index("what does not run well on cortex-m4:") : out.index("narrow.pt2 against wide.pt2")]
    assert "a PAD of its own" in advice and advice.count("\n- ") == 1
    assert "narrow.pt2 against wide.pt2" in out

    from torch import nn

    from repareto.search.devices.tflite.convert import convert

    net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(16, 3))
    (tmp_path / "m.tflite").write_bytes(convert(net.eval(), (1, 1, 8, 8), "int8"))
    for device, figure, method in (
        ("cortex-m4", "peak_memory_bytes", "measured"),
        ("ethos-u55-128", "latency_us", "simulated"),
    ):
        code, out, _ = repareto("profile", "m.tflite", "--device", device, "--measure", "--json")
        assert code == 0
        data = json.loads(out)
        assert data["profile"][figure]["method"] == method and data["profile"][figure]["value"] > 0
        assert data["advice"] == []


def test_the_devices_as_a_table_and_as_json(repareto) -> None:
    code, out, err = repareto("devices", "--json")
    assert code == 0 and err == ""
    rows = {row["name"]: row for row in json.loads(out)}
    assert {"reference", "host-onnxruntime", "cortex-m4", "ethos-u55-128"} <= set(rows)
    assert all(
        {"runtime", "precision", "latency", "memory", "flash", "error", "calibrated"} <= set(r) for r in rows.values()
    )
    code, out, _ = repareto("devices")
    assert code == 0
    assert all(name in out for name in rows)


def test_what_is_not_fitted_cannot_be_calibrated(refused) -> None:
    assert refused("calibrate", "--device", "reference").startswith(
        "--device reference: nothing is fitted there (fitted on a machine: host-onnxruntime, "
    )
    assert refused("calibrate", "--device", "refrence").startswith('device "refrence" is unknown')


def test_an_interrupt_is_told_in_a_line(repareto, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    assert repareto("front", "study") == (130, "", "interrupted\n")


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise AssertionError("an invariant of our own")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(AssertionError, match="of our own"):
        cli.main()
