"""Which model of a front to take."""

import pytest

from repareto.search.choose import choose
from repareto.search.objectives import Budget
from repareto.search.records import State
from repareto.search.weighing import knee, weighed
from repareto.spaces.errors import UserError


def bounds(**texts: str) -> list[Budget]:
    return [Budget.parse(name, text) for name, text in texts.items()]


@pytest.fixture
def results(lab):
    return lab.results(
        lab.record(0, 0.10, 3000, 40960),
        lab.record(1, 0.20, 2000, 20480),
        lab.record(2, 0.30, 1000, 10240),
        lab.record(3, 0.40, 4000, 51200),  # dominated
        lab.record(4, state=State.STOPPED, reason="dominated at the rung of epoch 3"),
        lab.record(5, 0.01, 1, 1, feasible=False),
        lab.record(6, state=State.RUNNING),
    )


@pytest.mark.parametrize(
    ("limits", "number"),
    [
        ({}, 0),
        ({"latency": "2ms"}, 1),
        ({"latency": "1999us"}, 2),
        ({"latency": "2ms", "peak_memory": "10KiB"}, 2),
        ({"error": "10%"}, 0),
        ({"parameters": "1G"}, 0),
    ],
)
def test_the_least_error_within_the_bounds(results, limits: dict[str, str], number: int) -> None:
    assert choose(results, bounds=bounds(**limits)).number == number


def test_a_trial_by_number_need_not_be_on_the_front(results) -> None:
    assert choose(results, number=3).number == 3
    assert choose(results, number=0, bounds=bounds(latency="1us")).number == 0


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (4, "trial 4 was not trained in full and has no model: stopped: dominated at the rung of epoch 3"),
        (6, "trial 6 was not trained in full and has no model: running"),
        (7, "trial 7: there is none of that number (0 to 6)"),
        (-1, "trial -1: there is none of that number (0 to 6)"),
    ],
)
def test_a_trial_without_a_model(results, number: int, message: str) -> None:
    with pytest.raises(UserError) as raised:
        choose(results, number=number)
    assert str(raised.value) == message


def test_bounds_that_nothing_holds_name_the_closest_model_and_what_it_breaks(results) -> None:
    with pytest.raises(UserError) as raised:
        choose(results, bounds=bounds(latency="0.9ms", peak_memory="10KiB"))
    assert str(raised.value) == (
        "no model of the front holds the bounds; the closest one is trial 2: latency 1 ms > 900 us"
    )
    with pytest.raises(UserError, match=r"trial 1: error 20.00 % > 15.00 %; latency 2 ms > 1.9 ms$"):
        choose(results, bounds=bounds(error="15%", latency="1.9ms"))


def test_an_empty_front(lab) -> None:
    with pytest.raises(UserError, match="the front is empty"):
        choose(lab.results(lab.record(0, state=State.STOPPED)), bounds=bounds(latency="2ms"))


def test_the_knee_and_weights_choose_within_the_bounds(results) -> None:
    assert choose(results, worth=knee).number == 2
    assert choose(results, worth=weighed((2, 1, 0))).number == 0
    assert choose(results, worth=weighed((3, 1, 0))).number == 0
    assert choose(results, worth=weighed((3, 1, 0)), bounds=bounds(latency="2ms")).number == 1
    assert choose(results, worth=weighed((0, 0, 1))).number == 2
