"""A comparison as a run of its own."""

import json
from pathlib import Path

from mlflow import MlflowClient

from repareto.search.compare import Comparison
from repareto.search.facts import StudyFacts
from repareto.search.mlflow_comparison import EXPERIMENT, write_comparison


def test_each_comparison_is_a_run(lab, tmp_path: Path) -> None:
    studies = {"a": lab.results(lab.record(0, 0.1)), "b": lab.results(lab.record(0, 0.2))}
    comparison = Comparison.of(studies, {name: StudyFacts(name) for name in studies})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        assert write_comparison(uri, (tmp_path / "files").as_uri(), comparison) == "a and b"
    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert [run.info.run_name for run in runs] == ["a and b"] * 2
    metrics = runs[0].data.metrics
    assert metrics["hypervolume.a"] > metrics["hypervolume.b"]
    assert (metrics["coverage.a.of.b"], metrics["coverage.b.of.a"]) == (1, 0)
    folder = Path(client.download_artifacts(runs[0].info.run_id, ""))
    assert json.loads((folder / "comparison.json").read_text()) == comparison.as_dict()
    assert "<title>a and b</title>" in (folder / "fronts.html").read_text()
