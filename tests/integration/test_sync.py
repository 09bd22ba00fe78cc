"""MLflow is a view: it can be written from the ledger at any time, from nothing if need be, and twice is once."""

import mlflow
import pytest

from tests.integration.commands import repareto, results_of


@pytest.fixture(scope="module")
def rebuilt(finished_study, tmp_path_factory):
    """A tracking store that never saw the search, written twice."""
    folder = tmp_path_factory.mktemp("rebuilt")
    uri = f"sqlite:///{folder / 'another.db'}"
    for _ in range(2):
        done = repareto("sync", "digits", "--store", finished_study.store, "--tracking", uri, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "wrote " in done.stdout and " trials of study digits to MLflow" in done.stdout
    return mlflow.MlflowClient(tracking_uri=uri)


def runs(client):
    experiment = client.get_experiment_by_name("digits")
    return {
        run.data.tags.get("repareto.trial", "parent"): run for run in client.search_runs([experiment.experiment_id])
    }


def test_the_new_view_is_the_old_one(finished_study, rebuilt):
    old = runs(mlflow.MlflowClient(tracking_uri=f"sqlite:///{finished_study.store / 'mlflow.db'}"))
    new = runs(rebuilt)
    assert new.keys() == old.keys() and len(new) == 1 + len(results_of(finished_study.store).records)
    for key, run in new.items():
        assert run.data.params == old[key].data.params
        assert run.data.metrics == old[key].data.metrics
        assert (run.info.status, run.info.run_name) == (old[key].info.status, old[key].info.run_name)
        same = {tag for tag in run.data.tags if not tag.startswith("mlflow.") and tag != "repareto.model"}
        assert {tag: run.data.tags[tag] for tag in same} == {tag: old[key].data.tags[tag] for tag in same}


def test_curves_have_no_point_twice(finished_study, rebuilt):
    records = {str(record.number): record for record in results_of(finished_study.store).records}
    for key, run in runs(rebuilt).items():
        if key in records:
            points = rebuilt.get_metric_history(run.info.run_id, "epoch.error")
            assert [point.step for point in sorted(points, key=lambda point: point.step)] == [
                epoch for epoch, _ in enumerate(records[key].curve, 1)
            ]


def test_the_front_has_its_models_and_its_page(finished_study, rebuilt):
    view = runs(rebuilt)
    members = {str(record.number) for record in results_of(finished_study.store).front}
    assert {key for key, run in view.items() if "repareto.model" in run.data.tags} == members
    experiment = rebuilt.get_experiment_by_name("digits")
    assert len(rebuilt.search_logged_models([experiment.experiment_id])) == len(members)
    names = {artifact.path for artifact in rebuilt.list_artifacts(view["parent"].info.run_id)}
    assert names >= {"front.html", "front.png", "front.json", "config.json"}
