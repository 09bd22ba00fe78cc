"""Proposals that cost nothing to reject, are never repeated, and find the front with less training than chance."""

from dataclasses import replace

import pytest

from repareto.search.objectives import objective
from repareto.search.records import State
from repareto.spaces.space import Choice, Float, Int


def test_it_finds_more_than_chance_with_half_the_trials(lab) -> None:
    found = {}
    for sampler, trials in (("frontier", 16), ("random", 32)):
        study = lab.study(None, trials=trials, sampler=sampler)
        lab.drive(study)
        found[sampler] = study.results.hypervolume
    assert found["frontier"] > found["random"]


def test_of_an_objective_that_only_training_tells_the_error_speaks(lab) -> None:
    class WithUsers(type(lab)):
        def __init__(self, *names: str) -> None:
            self.objectives = tuple(objective(name) for name in names)
            self.reference = (*[0.9] * (len(names) - 1), 1000.0)

        def measurement(self, candidate, **others):
            found = super().measurement(candidate, **others)
            return replace(found, figures=found.figures | {"personal_error": found.figures["error"] / 2})

    proposed = []
    for names in (("error", "latency"), ("error", "personal_error", "latency")):
        ours = WithUsers(*names)
        study = ours.study(None, trials=10, sampler="frontier")
        ours.drive(study)
        proposed.append([record.candidate for record in study.results.records])
    assert len(proposed[0]) == 10 and proposed[0] == proposed[1]


def test_what_breaks_a_budget_is_not_even_proposed(lab) -> None:
    study = lab.study(None, trials=12, budgets={"latency": "60us", "flash": "1KiB"}, sampler="frontier")
    lab.drive(study)
    states = [record.state for record in study.results.records]
    assert states == [State.FINISHED] * 12


def test_nothing_is_trained_twice_and_a_small_space_ends(lab) -> None:
    space = replace(
        lab.space, form=Choice(("plain",)), width=Int(4, 12, step=4), learning_rate=Float(0.01, 0.01, log=True)
    )
    study = lab.study(None, trials=50, sampler="frontier")
    study._proposer = lab.frontier(space=space)
    lab.drive(study)
    candidates = [record.candidate for record in study.results.records]
    assert len(set(candidates)) == len(candidates) == 6, "three widths, with a skip and without"
    assert not study.unfinished and study.next_trial() is None


@pytest.mark.parametrize("error", [0.0, 0.3, 1e9])
def test_equal_results_are_no_trouble(lab, error: float) -> None:
    study = lab.study(None, trials=10, sampler="frontier")
    while (record := study.next_trial()) is not None:
        study.finish(record.number, lab.measurement(record.candidate, error=error))
    assert study.results.trained == 10


def test_failures_and_wild_values_are_no_trouble(lab) -> None:
    study = lab.study(None, trials=14, sampler="frontier")
    while (record := study.next_trial()) is not None:
        kind = record.number % 3
        if kind == 0:
            study.fail(record.number, "crashed")
        else:
            error = lab.error(record.candidate) if kind == 1 else float("nan")
            study.finish(record.number, lab.measurement(record.candidate, error=error))
    assert study.results.trained == 14


def test_workers_that_run_are_not_sent_to_one_place(lab) -> None:
    study = lab.study(None, trials=20, sampler="frontier")
    for _ in range(8):
        lab.train(study, study.next_trial())
    running = [study.next_trial() for _ in range(6)]
    assert len({record.candidate for record in running}) == 6
    assert len({record.candidate["width"] for record in running}) > 2


def test_a_candidate_that_cannot_be_built_is_passed_over_and_told_of_once(lab, caplog) -> None:
    def appraise(candidate):
        if candidate["form"] == "deep":
            raise RuntimeError("too deep")
        return lab.profile(candidate)

    study = lab.study(None, trials=10, sampler="frontier", appraise=appraise)
    lab.drive(study)
    assert {record.candidate["form"] for record in study.results.records} == {"plain"}
    (told,) = (record.getMessage() for record in caplog.records if record.name == "repareto")
    assert told.startswith(
        "space toy: candidates that cannot be built are passed over; the first: RuntimeError: too deep"
    )
