"""The driver's mind, driven by a backend of a few lines: no Ray, no training."""

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repareto.search import study as study_module
from repareto.search.devices.profile import Figure, Profile
from repareto.search.devices.targets import device
from repareto.search.ledger import Ledger
from repareto.search.models import Appraiser
from repareto.search.objectives import Budget, budget_excesses, known_budgets
from repareto.search.records import EpochPoint, Measurement, State, TrialRecord, at_points, point_of, points_of
from repareto.search.results import Results
from repareto.search.study import scout_reference
from repareto.spaces.errors import UserError
from repareto.spaces.space import Candidate, Choice, Int


def states(study) -> list[State]:
    return [record.state for record in study.results.records]


def test_a_study_trains_its_trials_and_ends(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=5)
    assert study.unfinished
    assert lab.drive(study) == [0, 1, 2, 3, 4]
    assert states(study) == [State.FINISHED] * 5
    assert not study.unfinished and study.next_trial() is None
    assert study.results.front
    record = study.results.records[0]
    profile = lab.profile(record.candidate)
    assert record.measurement is not None
    assert record.measurement.figures == {
        "error": lab.error(record.candidate),
        "test_error": lab.error(record.candidate) + 0.01,
        **{name: profile.value(name) for name in ("latency_us", "peak_memory_bytes", "flash_bytes", "macs")},
        "parameters": profile.value("parameters"),
    }
    assert [point.error for point in record.curve] == [lab.error(record.candidate, e) for e in range(1, 10)]


def test_the_error_of_the_measurement_counts_and_not_that_of_the_last_epoch(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    record = study.next_trial()
    lab.train(study, record, until=8)
    study.finish(record.number, lab.measurement(record.candidate, error=0.123))
    assert study.results.front[0].measurement.figures["error"] == 0.123


def test_budgets_reject_before_training(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=6, budgets={"latency": "100us", "peak_memory": "4KiB"})
    lab.drive(study)
    by_state = {state: [r for r in study.results.records if r.state is state] for state in State}
    assert len(by_state[State.FINISHED]) == 6
    assert by_state[State.REJECTED], "this seed draws larger ones too"
    for record in by_state[State.REJECTED]:
        latency, memory = (lab.profile(record.candidate).value(n) for n in ("latency_us", "peak_memory_bytes"))
        assert latency > 100 or memory > 4096
        assert ("latency" in record.reason) == (latency > 100)
        assert ("peak_memory" in record.reason) == (memory > 4096)
        assert record.reason.endswith(("> 100 us", "> 4 KiB"))
        assert record.curve == () and record.measurement is None and not record.feasible
    for record in by_state[State.FINISHED]:
        assert record.measurement.figures["latency_us"] <= 100
        assert record.measurement.figures["peak_memory_bytes"] <= 4096


def test_what_cannot_be_built_is_rejected_with_its_reason_and_the_search_goes_on(lab, tmp_path: Path) -> None:
    def appraise(candidate):
        profile = lab.profile(candidate)
        if profile.value("latency_us") > 100:
            raise RuntimeError("this candidate cannot be built")
        return profile

    study = lab.study(tmp_path, trials=6, appraise=appraise)
    lab.drive(study)
    rejected = [record for record in study.results.records if record.state is State.REJECTED]
    assert rejected and all(record.reason == "this candidate cannot be built" for record in rejected)
    assert all(not record.feasible and record.curve == () for record in rejected)
    assert len(study.results.finished) == 6


def test_impossible_budgets_name_the_bound_and_the_closest_miss(
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study_module.REJECTION_LIMIT == 1000
    monkeypatch.setattr(study_module, "REJECTION_LIMIT", 100)  # a thousand rows take ten seconds
    study = lab.study(tmp_path, trials=1, budgets={"latency": "1us"})
    with pytest.raises(UserError) as raised:
        study.next_trial()
    rejected = study.results.records
    assert len(rejected) == 100
    assert set(states(study)) == {State.REJECTED}
    smallest = min(lab.profile(record.candidate).value("latency_us") for record in rejected)
    assert str(raised.value) == (
        f"budgets: none of 100 candidates fits; the closest one has latency {smallest:g} us > 1 us; "
        "raise that budget or let the space have smaller candidates"
    )


class Watcher:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[TrialRecord] = []
        self.results: Results | None = None

    def trial_changed(self, record: TrialRecord, results: Results) -> None:
        self.told.append(record)
        self.results = results
        assert results.records[record.number] == record


BUSY = {"trials": 6, "seed": 3, "rungs": (3,), "budgets": {"latency": "100us", "error": "50%"}}


def busy_study(lab, store: Path):
    """One trial of each end, besides those that are rejected: see the next test."""
    study = lab.study(store, **BUSY)
    # The error at each epoch and that of the fused model.
    for at_epochs, at_end in ((0.2, 0.2), (0.9, None), (None, None), (0.0, math.nan), (0.0, 0.6)):
        record = study.next_trial()
        if at_epochs is None:
            study.fail(record.number, "the loss is NaN in epoch 2")
            continue
        for epoch in range(1, 10):
            if not study.report_epoch(record.number, epoch, EpochPoint(at_epochs, 1.0, 0.1)):
                break
        else:
            study.finish(record.number, lab.measurement(record.candidate, error=at_end))
    lab.train(study, study.next_trial(), until=2)
    return study


def test_every_end_there_is(lab, tmp_path: Path) -> None:
    study = busy_study(lab, tmp_path)
    assert State.REJECTED in states(study)
    finished, stopped, failed, not_finite, infeasible, running = (
        record for record in study.results.records if record.state is not State.REJECTED
    )
    assert finished.state is State.FINISHED and finished.feasible
    assert stopped.state is State.STOPPED
    assert failed.state is State.FAILED and failed.reason == "the loss is NaN in epoch 2"
    assert not_finite.state is State.FAILED
    assert not_finite.reason.startswith("an objective is not finite: {'error': nan, 'latency': ")
    assert infeasible.state is State.FINISHED and not infeasible.feasible
    assert running.state is State.RUNNING and len(running.curve) == 2
    assert study.results.front == (finished,)
    assert study.unfinished


def normalised(record: TrialRecord) -> TrialRecord:
    """Without what JSON does to tuples."""
    return replace(record, profile=json.loads(json.dumps(record.profile)))


def test_the_next_driver_knows_what_the_last_one_knew(lab, tmp_path: Path) -> None:
    study = busy_study(lab, tmp_path)
    again = lab.study(tmp_path, **BUSY)
    assert len(again.results.records) == len(study.results.records)
    for old, new in zip(study.results.records, again.results.records, strict=True):
        times = {"started": 0.0, "ended": None if old.ended is None else 0.0}
        assert (old.ended is None) == (new.ended is None)
        assert replace(normalised(old), **times) == replace(new, **times)
    assert again.results.front == again.results.finished
    assert [r.number for r in again.results.front] == [r.number for r in study.results.front]
    assert again.results.hypervolume == study.results.hypervolume


def test_observers_are_told_the_times_that_the_ledger_keeps(lab, tmp_path: Path) -> None:
    """The MLflow view writes points at these times: others would be written a second time by the next driver."""
    watcher = Watcher()
    study = lab.study(tmp_path, trials=2, budgets={"latency": "100us"})
    study.watched_by(watcher)
    lab.drive(study)
    known = {record.number: record for record in Ledger.open(tmp_path, "study").records()}
    for told in watcher.told:
        assert told.started == known[told.number].started
        assert told.ended in (None, known[told.number].ended)


def test_observers_see_each_change_in_order(lab, tmp_path: Path) -> None:
    watcher = Watcher()
    study = lab.study(tmp_path, trials=2)
    study.watched_by(watcher)
    lab.drive(study)
    told = [(record.number, record.state, len(record.curve)) for record in watcher.told]
    expected = []
    for number in range(2):
        expected += [(number, State.RUNNING, epochs) for epochs in range(10)] + [(number, State.FINISHED, 9)]
    assert told == expected
    assert watcher.results.records == study.results.records


def test_early_stopping_keeps_the_undominated_and_stopped_trials_off_the_front(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=20, rungs=(3,), reduction=4)
    lab.drive(study)
    stopped = [record for record in study.results.records if record.state is State.STOPPED]
    assert 0 < len(stopped) < 20
    constraints = {trial.number: trial.constraints for trial in Ledger.open(tmp_path, "study").frozen_trials()}
    for record in stopped:
        assert constraints[record.number] == {"fidelity": pytest.approx(6 / 9)}, "the share of training that it lacks"
        assert len(record.curve) == 3
        assert record.reason == "dominated at the rung of epoch 3"
        assert record.measurement is None and not record.feasible
    front = {record.number for record in study.results.front}
    assert front and not front & {record.number for record in stopped}
    # Of 20, all that no other one dominates at the rung went on.
    at_rung = {
        record.number: (
            record.curve[2].error,
            lab.profile(record.candidate).value("latency_us"),
            lab.profile(record.candidate).value("peak_memory_bytes"),
        )
        for record in study.results.records
    }
    for record in stopped:
        mine = at_rung[record.number]
        assert any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine
            for number, other in at_rung.items()
            if number < record.number
        )


def test_rungs_are_remembered_by_the_next_driver(lab, tmp_path: Path) -> None:
    """One driver for all trials and a driver for each decide the same."""
    whole = lab.study(tmp_path / "whole", trials=12, rungs=(3,))
    lab.drive(whole)
    for count in range(1, 13):
        study = lab.study(tmp_path / "parts", trials=count, rungs=(3,))
        lab.drive(study)
    assert states(study) == states(whole)
    assert State.STOPPED in states(whole)


def test_without_rungs_nothing_is_stopped(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=8)
    lab.drive(study)
    assert set(states(study)) == {State.FINISHED}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_fails_the_trial_and_the_search_goes_on(lab, tmp_path: Path, bad) -> None:
    study = lab.study(tmp_path, trials=2)
    record = study.next_trial()
    study.finish(record.number, lab.measurement(record.candidate, error=bad))
    assert study.state_of(record.number) is State.FAILED
    assert lab.drive(study) == [1]
    assert states(study) == [State.FAILED, State.FINISHED]
    assert [r.number for r in study.results.front] == [1]


def test_a_model_that_breaks_the_error_budget_is_kept_but_not_on_the_front(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=2, budgets={"error": "30%"})
    for error in (0.4, 0.2):
        record = study.next_trial()
        study.finish(record.number, lab.measurement(record.candidate, error=error))
    assert states(study) == [State.FINISHED, State.FINISHED]
    assert [record.feasible for record in study.results.records] == [False, True]
    assert [record.number for record in study.results.front] == [1]


def test_failed_trials_count(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=3)
    while (record := study.next_trial()) is not None:
        study.fail(record.number, "broken")
    assert states(study) == [State.FAILED] * 3
    assert not study.unfinished


def test_no_more_than_the_trials_asked_for_run_at_once(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=3)
    running = [study.next_trial() for _ in range(3)]
    assert [record.number for record in running] == [0, 1, 2]
    assert study.next_trial() is None
    study.fail(0, "broken")
    assert study.next_trial() is None, "a failed one is not replaced"
    for record in running[1:]:
        lab.train(study, record)
    assert not study.unfinished


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The study's clock, moved by hand."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now, time=time.time)
    monkeypatch.setattr(study_module, "time", clock)
    return clock


def test_a_deadline_leaves_running_trials_to_the_next_driver(lab, tmp_path: Path, clock: SimpleNamespace) -> None:
    study = lab.study(tmp_path, trials=3, rungs=(3,), deadline=200.0)
    first = study.next_trial()
    lab.train(study, first)
    second = study.next_trial()
    assert lab.train(study, second, until=2)
    clock.now = 200.0
    assert study.out_of_time and study.unfinished
    assert not study.report_epoch(second.number, 3, EpochPoint(0.0, 1.0, 0.1))
    assert study.state_of(second.number) is State.RUNNING
    assert study.next_trial() is None

    again = lab.study(tmp_path, trials=3, rungs=(3,))
    assert states(again) == [State.FINISHED, State.RUNNING]
    record = again.next_trial()
    assert record.number == second.number
    assert len(record.curve) == 3, "no epoch is lost"
    lab.train(again, record)
    assert lab.drive(again) == [2]
    assert not again.unfinished


def test_a_deadline_in_the_past_starts_nothing(lab, tmp_path: Path, clock: SimpleNamespace) -> None:
    study = lab.study(tmp_path, trials=3, deadline=clock.now)
    assert study.next_trial() is None
    assert study.unfinished and states(study) == []


def test_the_end_of_a_trial_counts_even_after_the_deadline(lab, tmp_path: Path, clock: SimpleNamespace) -> None:
    study = lab.study(tmp_path, trials=1, deadline=200.0)
    record = study.next_trial()
    clock.now = 300.0
    study.finish(record.number, lab.measurement(record.candidate))
    assert states(study) == [State.FINISHED] and not study.unfinished


def test_a_continuation_gives_back_the_same_candidates_and_numbers(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=4)
    running = [study.next_trial() for _ in range(3)]
    lab.train(study, running[1])
    lab.train(study, running[2], until=4)
    del study  # killed

    again = lab.study(tmp_path, trials=4)
    first, second = again.next_trial(), again.next_trial()
    assert [first.number, second.number] == [0, 2], "interrupted ones first, oldest first"
    assert first.candidate == running[0].candidate and second.candidate == running[2].candidate
    assert len(first.curve) == 0 and len(second.curve) == 4
    assert again.next_trial().number == 3
    assert again.next_trial() is None
    for record in (first, second):
        lab.train(again, record)
    assert [r.number for r in Ledger.open(tmp_path, "study").records()] == [0, 1, 2, 3]


def test_more_trials_continue_a_finished_study(lab, tmp_path: Path) -> None:
    lab.drive(lab.study(tmp_path, trials=2))
    assert lab.drive(lab.study(tmp_path, trials=2)) == []
    assert lab.drive(lab.study(tmp_path, trials=5)) == [2, 3, 4]


def with_networks(lab, record: TrialRecord, errors: Sequence[float]) -> Measurement:
    """A trial that gave a network for each error, each half as large as the one before."""
    own = lab.measurement(record.candidate, error=errors[0])
    figures = record.profile["latency_us"]["value"]
    networks = tuple(
        replace(
            lab.measurement(record.candidate, error=error),
            network=number,
            profile={**record.profile, "latency_us": {**record.profile["latency_us"], "value": figures / 2**number}},
        )
        for number, error in enumerate(errors)
    )
    return replace(own, networks=networks)


def test_each_network_of_a_trial_is_a_point_and_those_over_a_budget_are_left_out(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=2, budgets={"error": "30%"})
    trial = study.next_trial()
    study.finish(trial.number, with_networks(lab, trial, [0.1, 0.4, 0.2]))
    record = Ledger.open(tmp_path, "study").records()[trial.number]
    assert record.feasible and points_of(record) == (0, 2)
    widest, narrow = at_points(record)
    assert widest.profile == trial.profile and widest.measurement.figures == record.measurement.figures
    assert narrow.measurement.figures["error"] == 0.2
    assert narrow.measurement.figures["latency_us"] == widest.measurement.figures["latency_us"] / 4
    assert [point_of(point) for point in study.results.front] == [0, 2]
    other = study.next_trial()
    study.finish(other.number, with_networks(lab, other, [0.5, 0.1]))
    assert not study.results.record(other.number).feasible, "it stands for its widest network"


def test_a_trial_that_lost_its_checkpoint_starts_its_curve_again(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    lab.train(study, study.next_trial(), until=5)
    again = lab.study(tmp_path, trials=1)
    record = again.next_trial()
    again.report_epoch(record.number, 1, EpochPoint(0.7, 1.0, 0.1))
    assert [point.error for point in again.results.records[0].curve] == [0.7]


# A Gaussian process over three objectives takes seconds a trial from the tenth on.
@pytest.mark.parametrize(
    ("sampler", "trials"), [("frontier", 8), ("random", 8), ("tpe", 8), ("nsga2", 14), ("nsga3", 14), ("gp", 6)]
)
def test_one_worker_and_one_seed_give_one_study(lab, tmp_path: Path, sampler: str, trials: int) -> None:
    def run(name: str, *counts: int, seed: int = 0) -> list[tuple[Candidate, State]]:
        for count in counts:
            study = lab.study(
                tmp_path / name, trials=count, rungs=(3,), budgets={"latency": "400us"}, sampler=sampler, seed=seed
            )
            lab.drive(study)
        return [(record.candidate, record.state) for record in study.results.records]

    whole = run("whole", trials)
    assert run("again", trials) == whole
    assert run("parts", 3, trials - 1, trials) == whole, "restarts change nothing"
    assert run("other", 3, seed=1) != run("few", 3)


def test_a_figure_that_a_worker_measured_wins_over_the_estimate(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    record = study.next_trial()
    measurement = lab.measurement(record.candidate)
    study.finish(record.number, replace(measurement, figures={**measurement.figures, "latency_us": 7.0}))
    assert study.results.front[0].measurement.figures["latency_us"] == 7.0


def test_the_profile_of_what_ships_replaces_the_estimate_and_budgets_hold_for_it(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=2, budgets={"latency": "20 ms"})
    for latency_us in (3.0, 20_500.0):
        record = study.next_trial()
        shipped = dict(record.profile, latency_us={**record.profile["latency_us"], "value": latency_us})
        study.finish(record.number, replace(lab.measurement(record.candidate), profile=shipped))
    small, large = study.results.records
    assert (small.feasible, small.reason, small.profile["latency_us"]["value"]) == (True, "", 3.0)
    assert (large.feasible, large.reason) == (False, "latency 20.5 ms > 20 ms")
    assert [record.measurement.figures["latency_us"] for record in study.results.records] == [3.0, 20_500.0]
    assert [record.number for record in study.results.front] == [0]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_workers_do_the_ledger_is_what_the_driver_knows(lab, tmp_path_factory, data) -> None:
    """Any interleaving of three workers, with failures and kills of the driver."""
    store = tmp_path_factory.mktemp("study")
    budgets = {"latency": "250us"}

    def driver():
        return lab.study(store, trials=6, rungs=(3,), budgets=budgets)

    study, running = driver(), {}
    shares: list[float] = []
    for _ in range(50):
        action = data.draw(st.sampled_from(["start", "epoch", "epoch", "epoch", "finish", "fail", "kill"]))
        if action == "kill":
            study, running = driver(), {}
        elif action == "start" and len(running) < 3:
            record = study.next_trial()
            if record is not None:
                assert record.number not in running
                running[record.number] = len(record.curve)
            elif not running:
                break
        elif running:
            number = data.draw(st.sampled_from(sorted(running)))
            record = study.results.records[number]
            if action == "epoch" and running[number] < lab.epochs:
                running[number] += 1
                point = EpochPoint(lab.error(record.candidate, running[number]), 1.0, 0.1)
                if not study.report_epoch(number, running[number], point):
                    del running[number]
            elif action == "fail":
                study.fail(number, "broken")
                del running[number]
            elif action == "finish":
                study.finish(number, lab.measurement(record.candidate))
                del running[number]
        shares.append(study.results.hypervolume)
    records = Ledger.open(store, "study").records()
    assert [r.number for r in records] == list(range(len(records)))
    assert [(r.state, r.candidate, r.curve) for r in records] == [
        (r.state, r.candidate, r.curve) for r in study.results.records
    ]
    assert sum(r.state.was_trained or r.state is State.RUNNING for r in records) <= 6
    assert shares == sorted(shares), "the hypervolume never falls"
    assert all(r.feasible and r.state is State.FINISHED for r in study.results.front)


# Budgets and the reference point.


def test_the_error_budget_is_unknown_before_training() -> None:
    budgets = [Budget.parse("error", "10%"), Budget.parse("macs", "1k")]
    assert known_budgets(budgets, {"macs": 500.0}) == budgets[1:]
    assert budget_excesses(budgets, {"macs": 500.0}) == {"macs": -0.5}
    assert budget_excesses(budgets, {"macs": 1500.0, "error": 0.2}) == {"error": 1.0, "macs": 0.5}
    assert budget_excesses([], {"macs": 1.0}) == {}


def scout(lab, budgets: dict[str, str], seed: int = 0, space=None, appraise=None) -> list[float]:
    return scout_reference(
        space or lab.space,
        appraise or lab.profile,
        lab.objectives,
        [Budget.parse(name, text) for name, text in budgets.items()],
        classes=10,
        rng=random.Random(seed),
    )


def test_the_reference_is_guessing_the_budget_or_the_worst_of_some_candidates(lab) -> None:
    rng = random.Random(0)
    profiles = [lab.profile(lab.space.draw(rng)) for _ in range(64)]
    worst = [max(p.value(name) for p in profiles) for name in ("latency_us", "peak_memory_bytes")]
    assert scout(lab, {}) == [0.9, *worst]
    assert scout(lab, {"latency": "1ms"}) == [0.9, 1000.0, worst[1]]
    assert scout(lab, {"error": "20%", "macs": "1M"})[0] == pytest.approx(0.2)
    assert scout(lab, {}, seed=0) == scout(lab, {}, seed=0)


def test_scouting_goes_on_until_one_fits(lab) -> None:
    seen: list[float] = []

    def appraise(candidate: Candidate) -> Profile:
        profile = lab.profile(candidate)
        seen.append(profile.value("latency_us"))
        return profile

    reference = scout(lab, {"latency": "8.5us"}, appraise=appraise)
    assert reference[1] == 8.5
    assert len(seen) == 64 or (min(seen[:-1]) > 8.5 >= seen[-1])


def test_scouting_refuses_what_nothing_meets_and_names_the_closest_of_all(lab) -> None:
    seen: list[tuple[float, str]] = []
    budgets = {"latency": "20us", "peak_memory": "300B"}

    def appraise(candidate: Candidate) -> Profile:
        profile = lab.profile(candidate)
        seen.append(
            max(
                (profile.value("latency_us") / 20 - 1, f"latency {profile.value('latency_us'):g} us > 20 us"),
                (profile.value("peak_memory_bytes") / 300 - 1, "peak_memory "),
            )
        )
        return profile

    with pytest.raises(UserError) as raised:
        scout(lab, budgets, appraise=appraise)
    assert len(seen) == 1000
    assert str(raised.value).startswith("budgets: none of 1000 candidates fits; the closest one has " + min(seen)[1])
    assert str(raised.value).endswith("raise that budget or let the space have smaller candidates")


def test_a_budget_on_the_error_alone_cannot_be_refused_before_training(lab) -> None:
    assert scout(lab, {"error": "0.1%"})[0] == pytest.approx(0.001)


def test_the_reference_device_appraises_real_models(lab, tmp_path: Path) -> None:
    """The same loop with the true appraiser: a skeleton without weights, profiled by a device."""
    space = replace(lab.space, width=Int(4, 16, step=4), form=Choice(("deep",)))
    appraiser = Appraiser(space, device("reference"), lambda _: (3, 5), 4)
    profiles = []

    def appraise(candidate: Candidate) -> Profile:
        profiles.append(appraiser(candidate))
        return profiles[-1]

    study = lab.study(tmp_path, trials=3, appraise=appraise, budgets={"macs": "1M"})
    lab.drive(study)
    for record, profile in zip(study.results.records, profiles, strict=True):
        width = record.candidate["width"]
        depth = record.candidate.get("depth", 1)
        macs = 15 * width + (depth - 1) * width * width + width * 4
        parameters = macs + depth * width + 4
        assert record.measurement.figures["macs"] == profile.value("macs") == macs
        assert record.measurement.figures["parameters"] == parameters
        assert record.measurement.figures["flash_bytes"] == 4 * parameters
        assert record.profile["latency_us"]["method"] == "estimated"
    first = study.results.records[0].candidate
    assert appraiser(first) is appraiser(first), "equal candidates are profiled once"


def test_a_profile_from_the_ledger_is_the_profile_that_was_written(lab, tmp_path: Path) -> None:
    lab.drive(lab.study(tmp_path, trials=1))
    (record,) = Ledger.open(tmp_path, "study").records()
    expected = lab.profile(record.candidate)
    assert Profile.from_json(json.dumps(record.profile)) == expected
    assert Figure(**record.profile["macs"]) == expected.macs
