"""Trials that lose their workers, and searches that are asked to stop."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from repareto.search.ledger import Ledger
from repareto.search.records import EpochPoint, Loss, State

NODE_LOSS, DEATH = Loss("its node was lost", False), Loss("its process was killed", True)


def test_a_lost_trial_is_given_out_again_before_new_ones(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=3)
    first, second = study.next_trial(), study.next_trial()
    lab.train(study, first, until=4)
    study.lose_worker(first.number, DEATH)
    again = study.next_trial()
    assert again.number == first.number and len(again.curve) == 4 and again.losses == (DEATH,)
    lab.train(study, again)
    lab.train(study, second)
    assert lab.drive(study) == [2]
    assert not study.unfinished


def test_three_deaths_fail_a_candidate_also_when_the_driver_dies_in_between(lab, tmp_path: Path) -> None:
    for _ in range(2):
        study = lab.study(tmp_path, trials=1)
        study.lose_worker(study.next_trial().number, DEATH)
        study.lose_worker(study.next_trial().number, NODE_LOSS)
    study = lab.study(tmp_path, trials=1)
    study.lose_worker(study.next_trial().number, DEATH)
    (record,) = study.results.records
    assert record.state is State.FAILED
    assert record.reason == "its worker died 3 times; the last time: its process was killed"
    assert study.next_trial() is None and not study.unfinished
    (trial,) = Ledger.open(tmp_path, "study").frozen_trials()
    assert trial.state is TrialState.FAIL, "the sampler learns it"


def test_nodes_that_always_go_with_one_candidate_are_its_fault_in_the_end(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    for _ in range(20):
        record = study.next_trial()
        study.lose_worker(record.number, NODE_LOSS)
    (record,) = study.results.records
    assert record.state is State.FAILED and "was lost 20 times" in record.reason


def test_a_decision_that_an_interrupted_driver_did_not_make_is_made_by_the_next(lab, tmp_path: Path) -> None:
    """The epoch of a rung is in the ledger, and the driver ends before it decides."""
    disturbed = lab.study(tmp_path, trials=12, rungs=(3,))
    for _ in range(11):
        lab.train(disturbed, disturbed.next_trial())
    record = disturbed.next_trial()
    lab.train(disturbed, record, until=2)
    disturbed.request_stop()
    disturbed.report_epoch(record.number, 3, EpochPoint(0.9, 1.0, 0.1))
    again = lab.study(tmp_path, trials=12, rungs=(3,))
    assert again.next_trial() is None
    assert again.state_of(record.number) is State.STOPPED
    assert again.results.record(record.number).reason == "dominated at the rung of epoch 3"


@pytest.mark.parametrize("who", ["the lease", "a signal"])
def test_a_stop_keeps_what_runs_for_another_time(lab, tmp_path: Path, who: str) -> None:
    asked = False
    study = lab.study(tmp_path, trials=3, stop_requested=lambda: asked)
    record = study.next_trial()
    assert lab.train(study, record, until=2)
    if who == "the lease":
        asked = True
    else:
        study.request_stop()
    assert not study.report_epoch(record.number, 3, EpochPoint(0.5, 1.0, 0.1))
    assert study.next_trial() is None and study.unfinished and study.stopping and not study.out_of_time
    assert lab.study(tmp_path, trials=3).next_trial().number == record.number
