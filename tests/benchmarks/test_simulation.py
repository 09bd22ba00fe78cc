"""The imagined cluster: it trains what a real one trains, and waits for its driver as one does."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from benchmarks.simulation import Cluster, Outcome, Simulation
from repareto.search.files import Files
from repareto.search.ray_backend import StudyScheduler, StudySearcher, Trouble
from repareto.search.records import State


@pytest.fixture(scope="module")
def lab():
    """That of the tests of the search."""
    path = Path(__file__).parents[1] / "search" / "conftest.py"
    spec = importlib.util.spec_from_file_location("search_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.Lab()


def run(study, folder: Path, cluster: Cluster, *, seconds: float = math.inf, **options) -> Outcome:
    trouble = Trouble()
    simulation = Simulation(
        StudySearcher(study, Files(str(folder)), trouble),
        StudyScheduler(study, trouble, lambda _: None),
        cluster,
        folder,
        **options,
    )
    outcome = simulation.run(seconds)
    assert trouble.error is None, trouble.error
    return outcome


CALM = {"deaths_an_epoch": 0.0, "node_life": 1e12}


def test_a_calm_cluster_trains_every_trial_once_and_its_workers_wait_for_nobody(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=12)
    # Epochs of a day: what the driver takes is nothing.
    outcome = run(study, tmp_path, Cluster(4, epochs=9, epoch_seconds=86_400, spread=0.0, **CALM))
    assert [record.state for record in study.results.records] == [State.FINISHED] * 12
    assert all(len(record.curve) == 9 and not record.losses for record in study.results.records)
    assert outcome.epochs_reported == 12 * 9
    assert outcome.lost_workers == 0
    assert outcome.utilisation == pytest.approx(1, abs=0.001)
    assert outcome.driver_load < 0.001
    assert set(outcome.call_ms) == {"suggest", "result", "complete"}


def test_a_slow_driver_is_what_all_workers_wait_for(lab, tmp_path: Path) -> None:
    """One call takes as long as 1,000 epochs: it serves one worker at a time, and all others stand still."""
    study = lab.study(tmp_path, trials=10**6)
    cluster = Cluster(20, epochs=9, epoch_seconds=1.0, spread=0.0, worker_start=0.0, ray_a_call=1000.0, **CALM)
    outcome = run(study, tmp_path, cluster, seconds=300_000)
    assert outcome.driver_load == pytest.approx(1, abs=0.02)
    assert outcome.utilisation == pytest.approx(outcome.epochs_reported / 300_000 / 20, rel=0.01)
    # A trial costs ten calls, of which nine tell of its epochs.
    assert outcome.epochs_a_second == pytest.approx(0.9 / 1000, rel=0.1)


def test_lost_workers_and_nodes_lose_no_trial_and_repeat_none(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=30, rungs=(3,))
    cluster = Cluster(8, workers_a_node=4, epochs=9, deaths_an_epoch=0.05, node_life=120.0, node_return=30.0)
    outcome = run(study, tmp_path, cluster, seed=5)
    records = study.results.records
    assert not study.unfinished
    assert sum(record.state.was_trained for record in records) == 30
    assert outcome.lost_workers == sum(len(record.losses) for record in records) > 20
    charges = {loss.is_charged for record in records for loss in record.losses}
    assert charges == {True, False}, "the study was told what was lost: a process or a node"
    assert all(len(record.curve) == 9 for record in records if record.state is State.FINISHED)
    # Of an epoch that was cut off nothing is told, of any other one once.
    assert outcome.epochs_reported == sum(len(record.curve) for record in records)
    assert outcome.utilisation < 0.9


def test_no_time_is_spent_on_what_begins_after_the_end(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=10**6)
    cluster = Cluster(4, epochs=9, epoch_seconds=100.0, spread=0.0, **CALM)
    outcome = run(study, tmp_path, cluster, seconds=450.0)
    assert outcome.epochs_reported in range(4 * 4, 4 * 5 + 1)
    assert study.results.counts[State.RUNNING] == 4
