"""The way of a user, from a config to an exported model, each step by the command line."""

import csv
import json

import mlflow
import numpy as np
import onnxruntime
import pytest
from mlflow import MlflowClient

from repareto.search.records import measured_figures
from repareto.trainers.data.digits import Digits
from tests.integration.commands import repareto, results_of, runs_of


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


@pytest.fixture(scope="module")
def exported(finished_study):
    out = finished_study.folder / "exported"
    done = repareto("export", "digits", "--out", out, cwd=finished_study.folder)
    assert done.returncode == 0, done.stderr
    return out


def test_export_runs_in_onnx_runtime(finished_study, exported):
    manifest = json.loads((exported / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 7):
        (logits,) = session.run(["logits"], {"features": np.zeros((batch, 1, 8, 8), np.float32)})
        assert logits.shape == (batch, len(manifest["labels"]))
    best = results_of(finished_study.store).front[0]
    assert manifest["trial"] == best.number
    assert manifest["digest"] == best.candidate.digest
    client = MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}")
    assert client.get_model_version_by_alias("digits", "champion").run_id
    again = repareto("export", "digits", "--out", exported, cwd=finished_study.folder)
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_exported_model_has_the_error_that_was_searched(finished_study, exported):
    """What you deploy is what you search: the error of the exported file is the ledger's."""
    dataset = Digits().load(seed=0)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
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
