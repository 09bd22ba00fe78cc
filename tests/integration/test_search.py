"""The way of a user, from a config to an exported model, each step by the command line."""

import csv
import json
import os
import signal
import subprocess
import time

import mlflow
import numpy as np
import onnxruntime
import pytest
from mlflow import MlflowClient

from repareto.search.ledger import Ledger
from repareto.search.records import State, measured_figures
from repareto.search.run import read_results
from tests.integration.commands import EXAMPLES, QUICK, REPARETO, environment, repareto, runs_of


def results_of(store, study="digits"):
    return read_results(Ledger.open(store, study))


def test_search_says_what_came_of_it(finished_study):
    assert "6/6 trials" in finished_study.output
    assert "repareto ui" in finished_study.output
    assert "repareto export digits" in finished_study.output


def test_front_json_is_the_front_of_the_ledger(finished_study):
    shown = json.loads(repareto("front", "digits", "--json", cwd=finished_study.folder).stdout)
    results = results_of(finished_study.store)
    assert [member["trial"] for member in shown["front"]] == [record.number for record in results.front]
    assert shown["front"]
    assert shown["hypervolume"] == results.hypervolume > 0
    assert shown["trials"]["finished"] + shown["trials"]["stopped"] == 6
    for member in shown["front"]:
        assert member["fusion"]["largest_relative_difference"] <= 1e-4
        assert member["figures"]["peak_memory_bytes"] <= 24 * 1024


def test_front_html_stands_alone(finished_study):
    page = finished_study.folder / "front.html"
    assert repareto("front", "digits", "--html", page, cwd=finished_study.folder).returncode == 0
    assert "digits: " in page.read_text(encoding="utf-8")


def test_members_of_the_front_have_their_drawings(finished_study):
    _, children = runs_of(finished_study.store)
    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    for run in children:
        files = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert ({"network.svg", "memory.svg"} <= files) == (run.data.tags["on_front"] == "true")


def test_the_fronts_table_has_what_was_measured(finished_study):
    parent, _ = runs_of(finished_study.store)
    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    with open(client.download_artifacts(parent.info.run_id, "front.csv"), newline="") as table:
        columns, *rows = csv.reader(table)
    front = results_of(finished_study.store).front
    measured = {name for record in front for name in measured_figures(record.measured)}
    assert {column for column in columns if column.startswith("measured.")} == {f"measured.{name}" for name in measured}
    assert [int(row[columns.index("trial")]) for row in rows] == [record.number for record in front]


def test_mlflow_shows_what_the_ledger_has(finished_study):
    results = results_of(finished_study.store)
    parent, children = runs_of(finished_study.store)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["hypervolume"] == pytest.approx(results.hypervolume)
    by_number = {int(run.data.tags["repareto.trial"]): run for run in children}
    assert sorted(by_number) == [record.number for record in results.records]
    members = {record.number for record in results.front}
    for record in results.records:
        run = by_number[record.number]
        assert run.data.tags["state"] == record.state
        assert run.data.tags["on_front"] == str(record.number in members).lower()
        assert run.data.params == {name: str(value) for name, value in record.candidate.items()}
        if record.measurement:
            assert run.data.metrics["error"] == record.measurement.figures["error"]
        assert run.data.metrics.get("epoch.error") == (record.curve[-1].error if record.curve else None)


def test_parent_run_has_the_front_in_three_forms(finished_study):
    parent, _ = runs_of(finished_study.store)
    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    names = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert names >= {"front.html", "front.png", "front.json", "config.json", "environment.json"}


# MLflow warns of its own imports when it first loads a model.
@pytest.mark.filterwarnings("ignore")
def test_front_models_load_back_and_predict(finished_study):
    _, children = runs_of(finished_study.store)
    mlflow.set_tracking_uri(f"sqlite:///{finished_study.store / 'mlflow.db'}")
    members = [run for run in children if run.data.tags["on_front"] == "true"]
    features = np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    for run in members:
        model = mlflow.pyfunc.load_model(run.data.tags["repareto.model"])
        assert model.predict(features)["logits"].shape == (5, 10)


def test_export_runs_in_onnx_runtime(finished_study):
    out = finished_study.folder / "exported"
    done = repareto("export", "digits", "--out", out, cwd=finished_study.folder)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 7):
        (logits,) = session.run(["logits"], {"features": np.zeros((batch, 1, 8, 8), np.float32)})
        assert logits.shape == (batch, len(manifest["labels"]))
    best = results_of(finished_study.store).front[0]
    assert manifest["trial"] == best.number
    assert manifest["digest"] == best.candidate.digest
    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    assert client.get_model_version_by_alias("digits", "champion").run_id
    again = repareto("export", "digits", "--out", out, cwd=finished_study.folder)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_exported_model_has_the_error_that_was_searched(finished_study):
    """What you deploy is what you search: the error of the exported file is the ledger's."""
    from repareto.trainers.data.digits import Digits

    out = finished_study.folder / "checked"
    assert repareto("export", "digits", "--out", out, cwd=finished_study.folder).returncode == 0
    dataset = Digits().load(seed=0)
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    figures = results_of(finished_study.store).front[0].measurement.figures
    for split, name in ((dataset.validation, "error"), (dataset.test, "test_error")):
        (logits,) = session.run(["logits"], {"features": split.features.astype(np.float32)})
        assert (logits.argmax(1) != split.labels).mean() == pytest.approx(figures[name])


def test_bounds_that_nothing_holds_name_the_closest(finished_study):
    done = repareto("export", "digits", "--out", "x", "--max", "peak_memory=1B", cwd=finished_study.folder)
    assert done.returncode == 2
    assert "closest" in done.stderr
    assert "peak_memory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_same_command_again_does_nothing(finished_study):
    before = results_of(finished_study.store).records
    done = repareto(*finished_study.words, cwd=finished_study.folder)
    assert done.returncode == 0
    assert "has its 6 trials already" in done.stdout
    assert results_of(finished_study.store).records == before


def test_another_space_under_the_same_name_is_refused(finished_study):
    done = repareto(*finished_study.words, "--set", "space.stages=[1, 2]", cwd=finished_study.folder)
    assert done.returncode == 2
    assert "another space" in done.stderr
    assert done.stderr.count("\n") == 1


def start_search(folder, *words):
    command = [REPARETO, "search", str(EXAMPLES / "digits.yaml"), *QUICK, *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_epochs(folder, count, process):
    """Wait until the ledger has that many epochs in all."""
    for _ in range(1800):
        assert process.poll() is None, process.communicate()
        # The ledger is not looked at before it is whole: opening a new one would make its tables at the same time.
        if (folder / "runs" / "studies" / "digits" / "trials").exists():
            records = results_of(folder / "runs").records
            if sum(len(record.curve) for record in records) >= count:
                return
        time.sleep(0.1)
    raise AssertionError("the search does not get on")


@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGKILL])
def test_killed_search_goes_on_and_repeats_nothing(tmp_path, death):
    # More trials than any machine trains before it is killed.
    with start_search(tmp_path, "--trials", "500") as process:
        wait_for_epochs(tmp_path, 6, process)
        before = {record.number: record for record in results_of(tmp_path / "runs").records}
        os.kill(process.pid, death)
        output, errors = process.communicate(timeout=150)
    if death == signal.SIGINT:
        assert process.returncode == 130, errors
        assert "goes on from here" in output
    # The two that were running, and one more.
    trials = results_of(tmp_path / "runs").trained + 3
    with start_search(tmp_path, "--trials", str(trials)) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    results = results_of(tmp_path / "runs")
    assert results.counts[State.RUNNING] == 0
    assert sum(record.state.was_trained for record in results.records) == trials
    for record in results.records:
        if record.number in before:
            assert record.candidate == before[record.number].candidate
            assert record.curve[: len(before[record.number].curve)] == before[record.number].curve
    parent, children = runs_of(tmp_path / "runs")
    assert parent.info.status == "FINISHED"
    assert len(children) == len(results.records)


def test_one_worker_and_one_seed_give_one_study(tmp_path):
    studies = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with start_search(tmp_path / name, "--trials", "4", "--set", "workers.count=1") as process:
            _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        records = results_of(tmp_path / name / "runs").records
        studies.append([(r.candidate, r.state, [point.error for point in r.curve]) for r in records])
    assert studies[0] == studies[1]


BROKEN_SPACE = '''
from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from repareto.spaces import Choice, Parameter, SearchSpace

@dataclass(frozen=True)
class Broken(SearchSpace):
    """Every other candidate computes NaN, one raises."""
    name: ClassVar[str] = "broken"
    fault: Choice = Choice(("none", "nan", "raise"))

    def parameters(self):
        return (Parameter("fault", self.fault),)

    def build(self, candidate, input_shape, classes):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
        weight = model[1].weight
        if candidate["fault"] == "nan":
            nn.init.constant_(weight, float("nan"))
        if candidate["fault"] == "raise":
            raise RuntimeError("this candidate cannot be built")
        return model
'''


def test_failing_candidates_do_not_stop_the_search(tmp_path):
    (tmp_path / "broken_space.py").write_text(BROKEN_SPACE)
    (tmp_path / "config.yaml").write_text(
        "study: broken\ndata: {source: digits}\nspace: {name: 'broken_space:Broken'}\n"
        "training: {epochs: 2}\ndevice: reference\nsearch: {trials: 8, sampler: random, early_stopping: false}\n"
    )
    done = repareto("search", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = results_of(tmp_path / "runs", "broken")
    by_fault = {record.candidate["fault"]: record for record in results.records}
    assert set(by_fault) == {"none", "nan", "raise"}
    assert by_fault["none"].state is State.FINISHED
    assert by_fault["nan"].state is State.FAILED
    assert "loss is nan" in by_fault["nan"].reason
    assert by_fault["raise"].state is State.REJECTED
    assert "cannot be built" in by_fault["raise"].reason
    assert sum(record.state.was_trained for record in results.records) == 8
