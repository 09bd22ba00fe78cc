"""The command line as a process of its own, and what it left in MLflow."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from repareto.search.ledger import Ledger
from repareto.search.results import Results
from repareto.search.run import read_results

REPARETO = str(Path(sys.executable).parent / "repareto")
EXAMPLES = Path(__file__).parents[2] / "examples"
# A few seconds a trial, and figures that are the same on every machine.
QUICK = ("--set", "training.epochs=4", "--set", "search.first_rung=2", "--set", "device=reference")


def repareto(*words: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [REPARETO, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment()
    )


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def runs_of(store: Path, study: str = "digits") -> tuple[Any, list[Any]]:
    """Return (parent run, child runs) of a study in its MLflow store."""
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = [run for run in runs if run.data.tags["role"] == "study"]
    assert len(parents) == 1
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(children) == len(runs) - 1
    return parents[0], children


def results_of(store: Path, study: str = "digits") -> Results:
    """Return what the ledger of a study says."""
    return read_results(Ledger.open(store, study))
