"""Which parameters decided about an objective."""

import random
from dataclasses import replace

import pytest

from repareto.search.importance import importances, is_logarithmic
from repareto.search.records import State


@pytest.fixture
def records(lab):
    """The error is of the width, the latency of the learning rate, and the memory of a parameter that not all have."""
    found = []
    for number in range(60):
        candidate = lab.candidate(number)
        depth = candidate.get("depth", 9)
        figures = (100 / candidate["width"], 1e6 * candidate["training.learning_rate"], 100.0 * depth)
        found.append(lab.record(number, *figures))
    return found


def test_what_an_objective_is_made_of_matters_most(lab, records) -> None:
    shares = importances(lab.results(*records))
    assert list(shares) == ["error", "latency", "peak_memory"]
    assert {name: next(iter(of)) for name, of in shares.items()} == {
        "error": "width", "latency": "training.learning_rate", "peak_memory": "depth",
    }  # fmt: skip
    for of_objective in shares.values():
        assert sum(of_objective.values()) == pytest.approx(1)
        assert list(of_objective.values()) == sorted(of_objective.values(), reverse=True)


def test_the_same_results_give_the_same_shares(lab, records) -> None:
    shuffled = list(records)
    random.Random(1).shuffle(shuffled)
    first = importances(lab.results(*records))
    assert first == importances(lab.results(*records))
    again = importances(lab.results(*shuffled))
    assert {name: set(shares) for name, shares in first.items()} == {n: set(shares) for n, shares in again.items()}


def test_few_trials_tell_nothing(lab, records) -> None:
    assert importances(lab.results(*records[:9])) == {}
    assert importances(lab.results()) == {}


def test_an_objective_that_is_the_same_for_all_is_left_out(lab, records) -> None:
    same = [lab.record(record.number, 0.25, 100.0 * record.number + 1) for record in records]
    assert "error" not in importances(lab.results(*same))


def test_a_space_of_one_candidate_has_no_parameter_that_matters(lab) -> None:
    candidate = lab.candidate(0)
    same = [replace(lab.record(number, 0.1 + 0.01 * number), candidate=candidate) for number in range(20)]
    assert importances(lab.results(*same)) == {}


def test_a_parameter_that_one_candidate_lacks_warns_nobody(lab, records) -> None:
    candidate = lab.candidate(0)
    odd = type(candidate).of("toy", {name: value for name, value in candidate.items() if name != "width"})
    shares = importances(lab.results(replace(records[0], candidate=odd), *records[1:]))
    assert "width" not in shares["error"]


def test_what_did_not_end_does_not_count(lab, records) -> None:
    stopped = [lab.record(number, state=State.STOPPED) for number in range(100, 120)]
    assert importances(lab.results(*records, *stopped)) == importances(lab.results(*records))


@pytest.mark.parametrize(("values", "answer"), [([1, 20], False), ([1, 21], True), ([0, 100], False), ([-1, 1], False)])
def test_a_wide_range_of_positive_numbers_is_logarithmic(values: list[float], answer: bool) -> None:
    assert is_logarithmic(values) is answer
