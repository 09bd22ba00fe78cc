"""The search as a whole, where it needs no training: a study that has its trials already, another space, no server."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from torch import nn

from repareto.search.config import Config, ConfigFile
from repareto.search.devices.boards.board import FOLDER
from repareto.search.devices.host.devices import Reference
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device
from repareto.search.ledger import Ledger
from repareto.search.models import Appraiser
from repareto.search.objectives import Budget
from repareto.search.parts import Parts
from repareto.search.run import (
    Outcome,
    _budget_lines,
    _rungs,
    appraiser_for,
    load_data,
    new_header,
    read_results,
    run_search,
    stored_config,
    versions,
)
from repareto.search.sampling import distribution
from repareto.search.tracking import default_tracking_uri
from repareto.spaces.errors import UserError


def config_in(store: Path, **changes: Any) -> Config:
    values: dict[str, Any] = {
        "study": "quick",
        "data": {"source": "digits"},
        "space": {"name": "repcnn", "stages": 1, "width": [4, 8], "blocks": 1, "kernel": 3},
        "device": "reference",
        "store": store,
        "search": {"trials": 1},
    }
    return Config(**{**values, **changes})


def finished_study(lab, config: Config, *, measured: bool = True) -> Ledger:
    """One trial in the ledger, as a driver leaves it that was killed at the very end."""
    parts = Parts(config)
    header = {
        "config": config.model_dump(mode="json"),
        "identity": parts.identity(),
        "reference": list(lab.reference),
        "data": {"name": "digits", "labels": list("0123456789"), "input_shape": [1, 8, 8], "front_end": {}},
        "versions": {},
    }
    ledger = Ledger.create(Path(config.store), config.study, header)
    candidate = parts.space.middle()
    profile = asdict(Appraiser(parts.space, device("reference"), lambda _: (1, 8, 8), 10)(candidate))
    distributions = {p.name: distribution(p.dimension) for p in parts.space.parameters() if p.name in candidate}
    number = ledger.start(candidate, distributions, profile)
    figures = {name: figure["value"] for name, figure in profile.items() if isinstance(figure, dict)}
    measurement = lab.measurement(lab.candidate(), error=0.1)
    measurement.figures.update(figures)
    ledger.finish(number, measurement, [measurement.figures[o.key] for o in lab.objectives], {})
    if measured:
        ledger.record_measured(number, profile)
    return ledger


def test_a_study_that_has_its_trials_needs_no_data(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_in(tmp_path)
    finished_study(lab, config)
    monkeypatch.setattr("repareto.search.run.load_data", None)
    said: list[str] = []
    outcome = run_search(config, say=said.append)
    assert len(outcome.results.front) == 1
    assert outcome.unfinished == "" and not outcome.interrupted
    assert said[0] == "study quick has its 1 trials already; more: --trials 2"


def test_the_same_command_again_mends_a_view_that_is_behind(lab, tmp_path: Path) -> None:
    """A driver whose MLflow server was down promises just this when it ends."""
    config = config_in(tmp_path)
    finished_study(lab, config)
    run_search(config, say=lambda _text: None)
    client = MlflowClient(tracking_uri=default_tracking_uri(Path(config.store)))
    experiment = client.get_experiment_by_name(config.study)
    assert experiment is not None
    numbers = [run.data.tags.get("repareto.trial") for run in client.search_runs([experiment.experiment_id])]
    assert sorted(number for number in numbers if number) == ["0"]


def test_a_server_that_is_down_at_the_end_costs_no_study(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = config_in(tmp_path, tracking="http://127.0.0.1:9")
    ledger = finished_study(lab, config, measured=False)
    said: list[str] = []
    outcome = run_search(config, say=said.append)
    assert len(outcome.results.front) == 1
    assert not ledger.records()[0].measured, "it is measured by the next one"
    assert any("http://127.0.0.1:9" in text or "MLflow" in text for text in said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": {"name": "repcnn", "stages": 1, "width": [4, 12], "blocks": 1, "kernel": 3}},
            "another space (parameters.stage1",
        ),
        ({"seed": 1}, "another seed (0 there, 1 here)"),
        ({"budgets": {"latency": "2ms"}}, "another budgets ("),
        ({"training": {"epochs": 2}}, "another training (epochs: "),
        ({"objectives": ("error", "macs")}, "another objectives ("),
    ],
)
def test_a_study_of_that_name_with_other_settings(lab, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    finished_study(lab, config_in(tmp_path))
    with pytest.raises(UserError) as raised:
        run_search(config_in(tmp_path, **changes), say=lambda _text: None)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f'study "quick" exists in {tmp_path} with ')


def test_what_may_change_while_a_study_continues(lab, tmp_path: Path) -> None:
    finished_study(lab, config_in(tmp_path))
    other = config_in(tmp_path, search={"trials": 1, "sampler": "random"}, workers={"count": 3})
    assert len(run_search(other, say=lambda _text: None).results.front) == 1


def test_what_is_read_back_is_what_was_written(lab, tmp_path: Path) -> None:
    config = config_in(tmp_path)
    ledger = finished_study(lab, config)
    assert stored_config(ledger, tmp_path) == config
    assert stored_config(ledger, tmp_path / "moved").store == str(tmp_path / "moved")
    results = read_results(ledger)
    assert [o.name for o in results.objectives] == list(config.objectives)
    assert results.reference.tolist() == list(lab.reference)
    assert len(results.records) == 1


def test_rungs_of_a_config(tmp_path: Path) -> None:
    assert _rungs(config_in(tmp_path, search={"early_stopping": False}), 30) is None
    rungs = _rungs(config_in(tmp_path, search={"first_rung": 2, "reduction": 4}), 30)
    assert rungs is not None and rungs.rungs_epochs == (2, 8) and rungs.reduction == 4


def test_versions_say_what_the_figures_come_from() -> None:
    assert {"python", "repareto", "torch", "ray", "optuna", "mlflow", "onnx", "onnxruntime", "numpy"} == set(versions())


def test_a_job_refuses_a_store_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(UserError, match=r"store runs: would lie in the job's own folder"):
        run_search(Config(**{**config_in(tmp_path).model_dump(), "store": "runs"}))


def test_fine_tuning_for_int8_on_a_device_of_floats() -> None:
    config = Config(
        study="s",
        data={"source": "digits"},
        space={"name": "repcnn"},
        device="reference",
        training={"quantization_aware_epochs": 2},
    )
    with pytest.raises(UserError, match="device reference runs fp32, which is not quantised"):
        Parts(config)


@pytest.fixture
def board_config(tmp_path: Path) -> Path:
    """A config beside a board file of one's own."""
    (tmp_path / "mine.toml").write_text((FOLDER / "cortex-m4.toml").read_text())
    path = tmp_path / "config.yaml"
    path.write_text("study: mine\ndata: {source: digits}\nspace: {name: repcnn}\ndevice: mine.toml\n")
    return path


def test_a_board_file_lies_beside_its_config(board_config: Path) -> None:
    config = ConfigFile(board_config).validated()
    assert config.device == str(board_config.with_name("mine.toml"))
    assert Parts(config).device.profile(read_module(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval(), (1, 4)))


def test_a_study_keeps_its_board_file(board_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path / "cache"))
    config = ConfigFile(board_config, [f"store={tmp_path / 'store'}"]).validated()
    parts = Parts(config)
    datasets = load_data(parts, print)
    appraiser = appraiser_for(parts, datasets)
    ledger = Ledger.create(config.ledger_address, "mine", new_header(parts, datasets, appraiser))
    assert stored_config(ledger).device == config.device
    board_config.with_name("mine.toml").unlink()
    kept = stored_config(ledger).device
    assert device(kept).identity == parts.device.identity


class Fitted(Reference):
    """A device that keeps how it was fitted with a study."""

    def calibration_text(self):
        return "as it was fitted"

    def use_calibration(self, kept):
        self.taken_up = kept


def test_a_study_goes_on_with_the_estimates_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Fitted] = []
    monkeypatch.setattr("repareto.search.parts.device", lambda _name: made.append(Fitted()) or made[-1])
    monkeypatch.setattr(
        "repareto.search.run.train",
        lambda _parts, ledger, *_, **__: Outcome(read_results(ledger), interrupted=True),
    )
    for _ in range(2):
        run_search(config_in(tmp_path))
    assert [getattr(device, "taken_up", None) for device in made] == [None, "as it was fitted"]


def test_members_that_break_a_budget_as_measured_are_told(lab) -> None:
    held, broken = lab.record(0, 0.1, 1000, 1024), lab.record(1, 0.2, 900, 1024)
    broken = replace(broken, measured={"latency_us": {"value": 1300.0, "method": "measured"}})
    (line,) = _budget_lines([held, broken], [Budget.parse("latency", "1.2ms")])
    assert line.startswith("trial 1 breaks a budget as it was measured (latency 1.3 ms")
