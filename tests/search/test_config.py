"""The config file: every complaint names the place, the key, the value and the way out."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repareto.search.config import Config, ConfigFile, default_store
from repareto.spaces.errors import UserError

GOOD = """\
study: keywords
data:
  source: digits
space:
  name: repcnn
  stages: [1, 3]
budgets:
  latency: 2 ms
search:
  trials: 30
  sampler: nsga2
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def complaint(write):
    """Return the error for a text and overrides, without the folder of the file."""

    def complaint(text: str | bytes, *overrides: str) -> str:
        path = write(text)
        with pytest.raises(UserError) as raised:
            ConfigFile(path, overrides).validated()
        message = str(raised.value)
        assert "\n" not in message
        return message.replace(str(path), path.name)

    return complaint


def test_a_good_config(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPARETO_STORE", raising=False)
    config = ConfigFile(write(GOOD)).validated()
    assert config.study == "keywords"
    assert (config.search.trials, config.search.sampler, config.search.early_stopping) == (30, "nsga2", True)
    assert config.space == {"name": "repcnn", "stages": [1, 3]}
    assert [o.name for o in config.parsed_objectives()] == ["error", "latency", "peak_memory"]
    assert [(b.objective.name, b.bound) for b in config.parsed_budgets()] == [("latency", 2000)]
    assert config.store == "runs"
    assert config.search.time_budget_seconds is None
    assert Config(**config.model_dump(mode="json")) == config, "as the ledger keeps it"


def test_the_store_may_come_from_the_environment(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_STORE", "/somewhere/else")
    assert default_store() == "/somewhere/else"
    assert ConfigFile(write(GOOD)).validated().store == "/somewhere/else"
    assert ConfigFile(write(GOOD), ["store=here"]).validated().store == "here"


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("serch: {}", "config.yaml:12: serch: unknown key (did you mean search?)"),
        ("zzz: 1", "config.yaml:12: zzz: unknown key (known: study, seed, data, "),
        ("workers:\n  cpu: 2", "config.yaml:13: workers.cpu: unknown key (did you mean cpus?)"),
        (
            "workers:\n  zzz: 2",
            "config.yaml:13: workers.zzz: unknown key (known: count, cpus, gpus, threads, ",
        ),
        ("workers: {1: 2}", "config.yaml:12: workers.1 1: keys should be strings"),
        ("seed: -1", "config.yaml:12: seed -1: input should be greater than or equal to 0"),
        ("seed: many", "config.yaml:12: seed 'many': input should be a valid integer"),
        ("workers:", "config.yaml:12: workers None: input should be a valid dictionary"),
        ("workers: 4", "config.yaml:12: workers 4: input should be a valid dictionary"),
        ("workers: {cpus: .nan}", "config.yaml:12: workers.cpus nan: "),
        ("objectives: [error, latncy]", "config.yaml:12: objectives objective 'latncy' is unknown (did you mean lat"),
        ("objectives: [error]", "config.yaml:12: objectives ['error']: need two or more different objectives"),
        ("objectives: [latency, macs]", "config.yaml:12: objectives ['latency', 'macs']: need two or more different"),
        ("objectives: [error, macs, macs]", "config.yaml:12: objectives ['error', 'macs', 'macs']: need two or more"),
        ("objectives: error", "config.yaml:12: objectives 'error': input should be a valid tuple"),
        ("workers: {epoch_timeout: long}", 'config.yaml:12: workers.epoch_timeout "long": not a duration'),
        ("store: [a]", "config.yaml:12: store ['a']: input should be a valid string"),
        ("ledger: postgresql://me:secret@host/db", "config.yaml:12: ledger has a password, which would be logged"),
        ("tracking: http://me:secret@host", "config.yaml:12: tracking has a password, which would be logged with the"),
        ("device: [a]", "config.yaml:12: device ['a']: input should be a valid string"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(complaint, added: str, message: str) -> None:
    assert complaint(f"{GOOD}{added}\n").startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("latency: 2 ms", "latency: 2 mss", 'config.yaml:8: budget latency "2 mss": not a duration (try "2 ms")'),
        ("latency: 2 ms", "latency: 2", 'config.yaml:8: budget latency "2": not a duration (try "2 ms")'),
        ("latency: 2 ms", "latency:", 'config.yaml:8: budget latency "None": not a duration (try "2 ms")'),
        ("latency: 2 ms", "latncy: 2 ms", "config.yaml:8: objective 'latncy' is unknown (did you mean latency?)"),
        ("latency: 2 ms", "1: 2 ms", "config.yaml:7: budgets.1.[key] 1: input should be a valid string"),
        ("trials: 30", "trials: 0", "config.yaml:10: search.trials 0: input should be greater than or equal to 1"),
        ("trials: 30", "trails: 30", "config.yaml:10: search.trails: unknown key (did you mean trials?)"),
        ("trials: 30", "time_budget: 10", 'config.yaml:10: search.time_budget "10": not a duration (try "2 ms")'),
        ("sampler: nsga2", "sampler: nsga", "config.yaml:11: search.sampler 'nsga': input should be 'frontier', 'tpe'"),
        ("study: keywords", "study: a b", "config.yaml:1: study 'a b': string should match pattern"),
        ("study: keywords", "study: ../up", "config.yaml:1: study '../up': string should match pattern"),
        ("study: keywords", "study: 7", "config.yaml:1: study 7: input should be a valid string"),
        ("study: keywords\n", "", "config.yaml:1: study: this key is needed"),
        ("  name: repcnn\n", "", "config.yaml:1: space: needs a 'name'"),
        ("source: digits", "folder: digits", "config.yaml:1: data: needs a 'source'"),
        ("name: repcnn", "name: [repcnn]", "config.yaml:1: space: needs a 'name'"),
    ],
)
def test_what_is_wrong_in_a_section_is_named_with_its_line(complaint, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert complaint(GOOD.replace(old, new)).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("study: [a", "config.yaml:1: not YAML: expected ',' or ']'"),
        ("study: a\n\tdata: b", "config.yaml:2: not YAML: "),
        ("- study", "config.yaml:1: a config is a mapping of keys to values"),
        ("study", "config.yaml:1: a config is a mapping of keys to values"),
        ("", "config.yaml:1: study: this key is needed"),
        ("study: !!python/name:os.system x", "config.yaml:1: not YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_config_at_all(complaint, text: str, message: str) -> None:
    assert complaint(text).startswith(message)


@pytest.mark.parametrize("text", [b"study: \xff\xfe", b"study: a\x00b", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_a_binary_file_is_no_config(complaint, text: bytes) -> None:
    assert complaint(text).startswith("config.yaml")


def test_a_key_that_is_no_string(complaint) -> None:
    assert complaint("1: 2\n" + GOOD).startswith("config.yaml:1: 1")


def test_an_alias_to_itself(complaint) -> None:
    assert complaint(GOOD + "training: &x {epochs: *x}\n").startswith("config.yaml")


@pytest.mark.parametrize("key", ["search.reduction", "workers.cpus", "workers.gpus"])
def test_infinity_is_refused(complaint, key: str) -> None:
    assert f"{key} inf" in complaint(GOOD, f"{key}=.inf")


def test_a_number_as_people_and_json_write_it(write) -> None:
    # YAML 1.1 takes 1e-3, without a point, for a text.
    path = write(GOOD.replace("stages: [1, 3]", "learning_rate: [1e-3, 1e-2]"))
    assert ConfigFile(path).validated().space["learning_rate"] == [0.001, 0.01]
    assert ConfigFile(path, ["space.learning_rate=1e-3"]).validated().space["learning_rate"] == 0.001


@pytest.mark.parametrize(("path", "reason"), [("missing.yaml", "No such file"), (".", "Is a directory")])
def test_what_cannot_be_read(tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"{path}: cannot be read \({reason}"):
        ConfigFile(tmp_path / path)


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("search.trials=40", "search", "trials", 40),
        (" search.trials = 40", "search", "trials", 40),
        ("search.sampler=random", "search", "sampler", "random"),
        ("workers.count=3", "workers", "count", 3),
        ("search={trials: 7}", "search", "trials", 7),
        ("search.time_budget=10m", "search", "time_budget_seconds", 600.0),
    ],
)
def test_an_override_wins(write, override: str, section: str, key: str, value: Any) -> None:
    assert getattr(getattr(ConfigFile(write(GOOD), [override]).validated(), section), key) == value


def test_overrides_reach_what_the_named_classes_validate_and_the_last_one_wins(write) -> None:
    overrides = ["space.stages=[1, 2]", "data.folder=/x=y", "seed=1", "seed=2", "budgets.macs=1M"]
    config = ConfigFile(write(GOOD), overrides).validated()
    assert config.space["stages"] == [1, 2]
    assert config.data == {"source": "digits", "folder": "/x=y"}
    assert config.seed == 2
    assert {budget.objective.name for budget in config.parsed_budgets()} == {"latency", "macs"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.trials", '--set "search.trials": not of the form key=value (try --set search.trials=40)'),
        ("=3", '--set "=3": not of the form key=value'),
        ("search..trials=3", '--set "search..trials=3": not of the form key=value'),
        ("study.name=3", '--set "study.name=3": study is not a section'),
        ("data.source.x=3", '--set "data.source.x=3": data.source is not a section'),
        ("search.trails=3", "--set: search.trails: unknown key (did you mean trials?)"),
        ("search.trials=x", "--set: search.trials 'x': input should be a valid integer"),
        ("budgets.latency=2 mss", '--set: budget latency "2 mss": not a duration (try "2 ms")'),
        ("study=", "--set: study None: input should be a valid string"),
    ],
)
def test_a_wrong_override_is_named(complaint, override: str, message: str) -> None:
    assert complaint(GOOD, override).startswith(message)


def test_an_override_that_is_no_yaml(complaint) -> None:
    assert complaint(GOOD, "search.trials=[1").startswith("--set")


def test_a_complaint_about_the_file_keeps_its_line_beside_an_override(complaint) -> None:
    assert complaint(GOOD.replace("trials: 30", "trials: x"), "seed=3").startswith("config.yaml:10: search.trials 'x'")


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(Config.model_fields)), value=values)
def test_any_value_is_taken_or_refused_with_its_place(write, key: str, value: Any) -> None:
    path = write(yaml.safe_dump({**yaml.safe_load(GOOD), key: value}))
    complaint = f"{path}:"
    try:
        ConfigFile(path).validated()
    except UserError as error:
        complaint = str(error)
    assert complaint.startswith(f"{path}:")
