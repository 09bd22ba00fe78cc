"""The adapters between Ray and the study, without a cluster."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from repareto.search.config import WorkersSection
from repareto.search.files import CHECKPOINT, trial_folder, write_atomically
from repareto.search.ray_backend import StudyScheduler, StudySearcher, Trouble, share_resources
from repareto.search.records import EpochPoint, State
from repareto.spaces.errors import UserError
from repareto.spaces.space import Candidate


class Ray:
    """What Ray Tune 2.60 does with a result: one with ``done`` goes to the searcher's end and to no scheduler."""

    def __init__(self, study, folder: Path) -> None:
        self.trouble = Trouble()
        self.searcher = StudySearcher(study, folder, self.trouble)
        self.scheduler = StudyScheduler(study, self.trouble)

    def start(self, trial_id: str) -> dict:
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict)
        return config

    def result(self, trial_id: str, config: dict, result: dict) -> bool:
        """Return whether the trial goes on."""
        if not result.get("done"):
            decision = self.scheduler.on_trial_result(None, SimpleNamespace(config=config), result)
            if decision == TrialScheduler.CONTINUE:
                return True
        self.searcher.on_trial_complete(trial_id, result)
        return False

    def train(self, lab, trial_id: str, config: dict) -> None:
        candidate = Candidate.from_json(config["candidate"])
        for epoch in range(1, lab.epochs + 1):
            result = {"curve": curve(lab, candidate, epoch)}
            if epoch == lab.epochs:
                result |= {"measurement": json.dumps(asdict(lab.measurement(candidate))), "done": True}
            if not self.result(trial_id, config, result):
                return


def curve(lab, candidate: Candidate, epochs: int) -> str:
    return json.dumps([EpochPoint(lab.error(candidate, epoch), 1.0, 0.1) for epoch in range(1, epochs + 1)])


def test_trials_reach_the_study_with_all_their_epochs(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=2)
    ray = Ray(study, tmp_path)
    for trial_id in "ab":
        ray.train(lab, trial_id, ray.start(trial_id))
    assert ray.searcher.suggest("c") == Searcher.FINISHED
    assert [record.state for record in study.results.records] == [State.FINISHED] * 2
    assert [record.number for record in study.results.records] == [0, 1]
    for record in study.results.records:
        assert [point.error for point in record.curve] == [lab.error(record.candidate, e) for e in range(1, 10)]


def test_a_stopped_trial_stays_stopped(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=12, rungs=(3,))
    ray = Ray(study, tmp_path)
    for number in range(12):
        ray.train(lab, str(number), ray.start(str(number)))
    states = [record.state for record in study.results.records]
    assert State.STOPPED in states and State.FINISHED in states
    assert all(len(record.curve) == 3 for record in study.results.records if record.state is State.STOPPED)


def test_what_a_worker_reports_of_its_failure(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=3)
    ray = Ray(study, tmp_path)
    config = ray.start("a")
    ray.result("a", config, {"done": True, "failed": "the loss is NaN in epoch 2"})
    ray.start("b")
    ray.searcher.on_trial_complete("b", None, error=True)
    ray.start("c")
    ray.searcher.on_trial_complete("c", None)
    failed, died, interrupted = study.results.records
    assert failed.state is State.FAILED and failed.reason == "the loss is NaN in epoch 2"
    assert died.state is State.FAILED and "worker died" in died.reason
    assert interrupted.state is State.RUNNING, "the next driver goes on with it"


def test_a_checkpoint_goes_when_the_ledger_has_the_end_and_not_before(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=2), tmp_path)
    for trial_id in "ab":
        config = ray.start(trial_id)
        write_atomically(trial_folder(tmp_path, config["number"]) / CHECKPOINT, b"weights")
    ray.searcher.on_trial_complete("a", {"done": True, "failed": "the loss is NaN"})
    ray.searcher.on_trial_complete("b", None)
    assert [(trial_folder(tmp_path, number) / CHECKPOINT).exists() for number in (0, 1)] == [False, True]


def test_a_fatal_end_asks_for_no_more_trials_and_is_raised_later(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=3)
    ray = Ray(study, tmp_path)
    ray.result("a", ray.start("a"), {"done": True, "fatal": "no space left on the disk"})
    assert isinstance(ray.trouble.error, UserError)
    assert ray.searcher.suggest("b") == Searcher.FINISHED
    assert study.results.records[0].state is State.RUNNING


def test_impossible_budgets_end_the_search(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repareto.search.study.REJECTION_LIMIT", 5)
    ray = Ray(lab.study(tmp_path, trials=3, budgets={"latency": "1us"}), tmp_path)
    assert ray.searcher.suggest("a") == Searcher.FINISHED
    assert "none of 5 candidates fits" in str(ray.trouble.error)


def test_an_evaluation_without_an_epoch_goes_on(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    config = ray.start("a")
    assert ray.result("a", config, {})


def test_an_epoch_that_the_dead_driver_did_not_hear_of_is_not_lost(lab, tmp_path: Path) -> None:
    """The worker keeps its checkpoint before it reports, so a driver killed in between misses an epoch."""
    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    config = ray.start("a")
    candidate = Candidate.from_json(config["candidate"])
    ray.result("a", config, {"curve": curve(lab, candidate, 1)})
    again = lab.study(tmp_path, trials=1)
    ray = Ray(again, tmp_path)
    assert ray.start("a") == config
    ray.result("a", config, {"curve": curve(lab, candidate, 3)})
    errors = [point.error for point in again.results.records[0].curve]
    assert errors == [lab.error(candidate, epoch) for epoch in (1, 2, 3)]


def test_rays_own_snapshot_of_an_experiment_holds_no_study(lab, tmp_path: Path) -> None:
    import pickle

    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    for adapter in (ray.searcher, ray.scheduler):
        assert len(pickle.dumps(adapter)) < 500


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, (2, 0)),
        ({"cpus": 2}, 8, 0, (4, 0)),
        ({"count": 3}, 8, 0, (3, 0)),
        ({}, 4, 1, (4, 0.25)),
        ({}, 3, 1, (3, 0.3333)),
        ({"count": 2}, 16, 1, (2, 0.5)),
        ({}, 2, 8, (2, 1)),
        ({"gpus": 0}, 4, 1, (4, 0)),
        ({"gpus": 0.5}, 16, 1, (2, 0.5)),
    ],
)
def test_resources_are_shared_fairly(workers, cpus, gpus, expected) -> None:
    assert share_resources(WorkersSection(**workers), cpus, gpus) == expected


@pytest.mark.parametrize("workers", [{"cpus": 4}, {"gpus": 1}])
def test_a_trial_that_fits_nowhere(workers) -> None:
    with pytest.raises(UserError, match=r"a trial wants .* the cluster has 2 and 0"):
        share_resources(WorkersSection(**workers), 2, 0)
