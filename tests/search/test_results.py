"""What a study has found."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.front import hypervolume, on_front
from repareto.search.records import State
from repareto.search.results import Results, objective_values


@st.composite
def drawn_records(draw):
    """Numbers, states, feasibility and the three objectives of some trials, values drawn coarsely for ties."""
    return [
        (
            draw(st.sampled_from(list(State))),
            draw(st.booleans()),
            draw(st.integers(0, 9)) / 10,
            draw(st.integers(0, 5)) * 200.0,
            draw(st.integers(0, 5)) * 16384.0,
        )
        for _ in range(draw(st.integers(0, 8)))
    ]


def made(lab, drawn):
    return [
        lab.record(number, error, latency, memory, state=state, feasible=feasible)
        for number, (state, feasible, error, latency, memory) in enumerate(drawn)
    ]


@given(drawn_records())
def test_only_feasible_models_of_full_fidelity_reach_the_front(lab, drawn) -> None:
    records = made(lab, drawn)
    results = lab.results(*records)
    eligible = [r for r in records if r.state is State.FINISHED and r.feasible]
    assert {r.number for r in results.finished} == {r.number for r in eligible}
    values = {r.number: np.array(objective_values(lab.objectives, r)) for r in eligible}
    expected = {
        number
        for number, value in values.items()
        if not any((other <= value).all() and (other < value).any() for other in values.values())
    }
    assert {record.number for record in results.front} == expected
    assert sum(results.counts.values()) == len(records)


@given(drawn_records())
def test_the_hypervolume_never_falls_and_ends_at_that_of_the_front(lab, drawn) -> None:
    results = lab.results(*made(lab, drawn))
    steps = results.hypervolume_by_trial()
    trained = [record for record in results.records if record.state.was_trained]
    assert [step for step, _, _ in steps] == list(range(1, len(trained) + 1))
    shares = [share for _, share, _ in steps]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(shares))
    assert all(0 <= share <= 1 for share in shares)
    front = np.array([objective_values(lab.objectives, r) for r in results.front]).reshape(-1, 3)
    assert results.hypervolume == pytest.approx(hypervolume(front, results.reference))
    if steps:
        assert shares[-1] == pytest.approx(results.hypervolume)
        assert [ended for *_, ended in steps] == sorted(record.ended for record in trained)


def recomputed(lab, records) -> tuple:
    """All that :class:`Results` says, from its definition and from nothing that it kept."""

    def eligible(among):
        return [r for r in among if r.state is State.FINISHED and r.feasible]

    def values(among):
        return np.array([objective_values(lab.objectives, r) for r in among], float).reshape(len(among), 3)

    ends = sorted((r for r in records if r.state.was_trained), key=lambda r: (r.ended, r.number))
    finished = eligible(records)
    members = [r for r, is_member in zip(finished, on_front(values(finished)), strict=True) if is_member]
    return (
        {r.number for r in members},
        [(n, hypervolume(values(eligible(ends[:n])), np.array(lab.reference))) for n in range(1, len(ends) + 1)],
        {state: sum(r.state is state for r in records) for state in State},
        {state: sum(len(r.curve) for r in records if r.state is state) for state in State},
    )


def told(results) -> tuple:
    return (
        {r.number for r in results.front},
        [(n, pytest.approx(share, abs=1e-12)) for n, share, _ in results.hypervolume_by_trial()],
        {state: results.counts[state] for state in State},
        {state: results.epochs[state] for state in State},
    )


@given(drawn_records(), st.randoms(use_true_random=False), st.booleans())
def test_kept_up_to_date_it_says_what_a_new_one_says(lab, drawn, random, in_order: bool) -> None:
    """Trials begin in order and end in any, some change after their end, and clocks may be set back."""
    results = lab.results()
    known = {}
    for record in made(lab, drawn):
        running = lab.record(record.number, state=State.RUNNING, curve=record.curve[:1])
        results.update(running)
        known[record.number] = running
    ends = made(lab, drawn)
    random.shuffle(ends)
    for place, record in enumerate(ends):
        ended = None if record.state is State.RUNNING else float(place if in_order else random.randint(0, 3))
        known[record.number] = replace(record, ended=ended)
        results.update(known[record.number])
        if random.random() < 0.2:
            changed = random.choice(list(known.values()))
            known[changed.number] = replace(changed, feasible=not changed.feasible)
            results.update(known[changed.number])
        results.update(known[record.number])
        records = tuple(known.values())
        assert results.records == records
        assert told(results) == recomputed(lab, records)
        assert told(results.copy()) == told(results)
    assert results.hypervolume_by_trial(after=2) == results.hypervolume_by_trial()[2:]
    assert results.trained == len(results.hypervolume_by_trial())


def test_the_end_of_a_trial_is_no_reason_to_look_at_all_others(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    results = lab.results(*(lab.record(number, 0.5 - 0.01 * number) for number in range(20)))
    monkeypatch.setattr(Results, "_replayed", None)
    for record in (lab.record(20, state=State.RUNNING), lab.record(20, 0.01), lab.record(20, 0.01)):
        results.update(record)
    results.update(lab.record(21, state=State.STOPPED))
    assert [record.number for record in results.front] == [20]
    assert results.trained == 22 and results.record(21).state is State.STOPPED


def test_a_copy_goes_its_own_way(lab) -> None:
    results = lab.results(lab.record(0, 0.5))
    copy = results.copy()
    results.update(lab.record(1, 0.1))
    assert [record.number for record in copy.front] == [0]
    assert copy.counts[State.FINISHED] == copy.trained == 1


def test_the_front_stands_in_order_of_the_first_objective(lab) -> None:
    records = [lab.record(0, 0.3, 100), lab.record(1, 0.1, 300), lab.record(2, 0.2, 200), lab.record(3, 0.4, 400)]
    assert [record.number for record in lab.results(*records).front] == [1, 2, 0]


def test_steps_follow_the_ends_and_not_the_numbers(lab) -> None:
    late, early = lab.record(0, 0.1, ended=20.0), lab.record(1, 0.5, ended=10.0)
    steps = lab.results(late, early).hypervolume_by_trial()
    assert [ended for *_, ended in steps] == [10.0, 20.0]
    assert steps[0][1] == pytest.approx(lab.results(early).hypervolume)


def test_no_trials(lab) -> None:
    results = lab.results()
    assert results.front == () and results.finished == ()
    assert results.hypervolume == 0
    assert results.hypervolume_by_trial() == []
    assert results.values([]).shape == (0, 3)
    assert results.counts[State.FINISHED] == 0


def test_equal_models_are_on_the_front_together(lab) -> None:
    assert [record.number for record in lab.results(lab.record(0), lab.record(1)).front] == [0, 1]
