"""Comparisons of studies in MLflow: a run each, in an experiment of their own."""

from __future__ import annotations

import json
import logging

from mlflow import MlflowClient

from .compare import Comparison
from .mlflow_runs import KIND_OF_EXPERIMENT
from .pages.comparison import comparison_page

EXPERIMENT = "comparisons"


def write_comparison(uri: str, artifacts: str | None, comparison: Comparison) -> str:
    """Write a comparison as a run of its own and return the run's name.

    ``artifacts`` is where a new experiment keeps its files; None leaves that to the server.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = (
        client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=KIND_OF_EXPERIMENT)
        if experiment is None
        else experiment.experiment_id
    )
    name = " and ".join(comparison.names)
    run = client.create_run(experiment_id, run_name=name).info.run_id
    for study, value in comparison.hypervolumes.items():
        client.log_metric(run, f"hypervolume.{study}", value)
    for one in comparison.names:
        for other in comparison.names:
            if one != other:
                client.log_metric(run, f"coverage.{one}.of.{other}", comparison.coverage(one, other))
    client.log_text(run, comparison_page(comparison), "fronts.html")
    client.log_text(run, json.dumps(comparison.as_dict(), indent=1), "comparison.json")
    client.set_terminated(run)
    return name
