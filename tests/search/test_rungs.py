"""Who goes on at a rung."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repareto.search.front import pareto_ranks
from repareto.search.rungs import ParetoRungs, default_rungs
from repareto.spaces.errors import UserError

newcomers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20)


@given(newcomers, st.floats(1.1, 6))
def test_the_best_share_goes_on_ties_included_and_the_undominated_always(values, reduction) -> None:
    rungs = ParetoRungs((3,), reduction)
    for number, value in enumerate(values):
        rungs.record(number, 3, value)
        verdict = rungs.goes_on(number, 3)
        seen = values[: number + 1]
        ranks = pareto_ranks(np.array(seen, float))
        # Said another way: sorted by rank, the newcomer's tie group begins within the quota.
        position = sorted(ranks.tolist()).index(ranks[-1])
        assert verdict == (position < math.ceil(len(seen) / reduction))
        if ranks[-1] == 0:
            assert verdict


def test_one_better_newcomer_after_another_all_go_on() -> None:
    rungs = ParetoRungs((1,), 3)
    for number in range(10):
        rungs.record(number, 1, (10 - number, 5.0))
        assert rungs.goes_on(number, 1)


def test_a_dominated_newcomer_is_stopped_once_the_quota_is_full() -> None:
    rungs = ParetoRungs((1,), 3)
    for number, value in enumerate([(1, 1), (2, 2), (3, 3)]):
        rungs.record(number, 1, value)
    assert [rungs.goes_on(number, 1) for number in range(3)] == [True, False, False]
    rungs.record(3, 1, (4, 4))
    assert rungs.goes_on(1, 1), "of four, two go on"


def test_rungs_are_apart_and_other_epochs_decide_nothing() -> None:
    rungs = ParetoRungs((3, 9), 3)
    rungs.record(0, 3, (0, 0))
    rungs.record(1, 3, (1, 1))
    rungs.record(1, 9, (1, 1))
    rungs.record(1, 4, (1, 1))
    assert not rungs.goes_on(1, 3)
    assert rungs.goes_on(1, 9)
    assert rungs.goes_on(1, 4)


def test_a_trial_that_is_recorded_again_counts_once() -> None:
    rungs = ParetoRungs((3,), 2)
    for _ in range(5):
        rungs.record(0, 3, (0, 0))
        rungs.record(1, 3, (1, 1))
    assert not rungs.goes_on(1, 3)
    rungs.record(1, 3, (-1, -1))
    assert rungs.goes_on(1, 3)


def test_nan_is_refused() -> None:
    rungs = ParetoRungs((3,), 3)
    rungs.record(0, 3, (math.nan, 1))
    with pytest.raises(UserError, match="finite"):
        rungs.goes_on(0, 3)


@pytest.mark.parametrize(
    ("epochs", "reduction", "first", "rungs"),
    [
        (9, 3, 3, (3,)),
        (30, 3, 3, (3, 9)),
        (36, 3, 3, (3, 9, 27)),
        (27, 3, 1, (1, 3, 9)),
        (10, 2, 3, (3, 6)),
        (4, 3, 3, (3,)),
        (10, 1.5, 2, (2, 3, 4, 7)),
        (3, 3, 3, ()),
        (1, 3, 1, ()),
    ],
)
def test_default_rungs(epochs: int, reduction: float, first: int, rungs: tuple[int, ...]) -> None:
    assert default_rungs(epochs, reduction, first) == rungs


@given(st.integers(1, 200), st.floats(1.01, 10), st.integers(1, 20))
@example(epochs=9, reduction=1.2, first=1)
def test_rungs_rise_from_the_first_while_a_stop_saves_a_quarter(epochs: int, reduction: float, first: int) -> None:
    rungs = default_rungs(epochs, reduction, first)
    assert list(rungs) == sorted(set(rungs)), "no rung twice"
    assert all(first <= rung <= 0.75 * epochs for rung in rungs)
    assert (first <= 0.75 * epochs) == (first in rungs)
