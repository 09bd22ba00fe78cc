"""Boxes and expected gains, against the hypervolume itself and against chance."""

import math

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.search.frontier import gain
from repareto.search.frontier.gain import LogNormal, expected_gains, undominated_boxes

grids = st.integers(2, 4).flatmap(
    lambda m: st.lists(st.tuples(*[st.integers(0, 6)] * m), max_size=12).map(
        lambda rows: np.array(rows, dtype=float).reshape(-1, m) / 5
    )
)


def undominated(front: np.ndarray) -> float:
    return 1 - moocore.hypervolume(front, ref=np.ones(front.shape[1])) if len(front) else 1.0


@settings(deadline=None)
@given(grids)
def test_boxes_cover_what_no_point_dominates_and_nothing_else(front: np.ndarray) -> None:
    """With equal points, dominated ones and those beyond the reference among them."""
    boxes = undominated_boxes(front)
    assert (boxes.lower < boxes.upper).all()
    assert math.isclose((boxes.upper - boxes.lower).prod(axis=1).sum(), undominated(front), abs_tol=1e-12)
    middles = (boxes.lower + boxes.upper) / 2
    assert not (front[None] <= middles[:, None]).all(axis=2).any()
    inside = (boxes.lower[None] < middles[:, None]) & (middles[:, None] < boxes.upper[None])
    assert (inside.all(axis=2).sum(axis=1) == 1).all(), "no two boxes overlap"


@settings(deadline=None)
@given(grids, st.integers(0, 2**16))
def test_without_doubt_the_expected_gain_is_the_gain(front: np.ndarray, seed: int) -> None:
    candidates = np.random.default_rng(seed).uniform(0, 1.2, (5, front.shape[1]))
    sure = LogNormal(np.log(candidates[:, 0] + 0.01), np.full(5, 1e-9), 0.01)
    gains = expected_gains(undominated_boxes(front), candidates[:, 1:], sure)
    for found, candidate in zip(gains, candidates, strict=True):
        expected = undominated(front) - undominated(np.vstack([front, candidate]))
        assert math.isclose(found, expected, abs_tol=1e-7)


def test_in_doubt_it_is_the_mean_of_the_gains() -> None:
    rng = np.random.default_rng(0)
    front = rng.uniform(0.2, 1, (6, 3))
    costs = np.array([[0.3, 0.4], [0.1, 0.9]])
    guess = LogNormal(np.log([0.3, 0.7]), np.array([0.5, 0.2]), 0.05)
    gains = expected_gains(undominated_boxes(front), costs, guess)
    drawn = np.exp(guess.mean + guess.deviation * rng.standard_normal((4000, 2))) - guess.shift
    for place in range(2):
        before = undominated(front)
        sample = [
            before - undominated(np.vstack([front, [max(error, 0.0), *costs[place]]])) for error in drawn[:, place]
        ]
        assert gains[place] == pytest.approx(np.mean(sample), abs=4 * np.std(sample) / math.sqrt(len(sample)))


def test_many_candidates_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    boxes = undominated_boxes(rng.uniform(0, 1, (8, 3)))
    costs, guess = rng.uniform(0, 1, (30, 2)), LogNormal(rng.normal(size=30), np.ones(30), 0.01)
    at_once = expected_gains(boxes, costs, guess)
    monkeypatch.setattr(gain, "CELLS_AT_ONCE", 3 * len(boxes.lower))
    np.testing.assert_array_equal(expected_gains(boxes, costs, guess), at_once)


def test_what_costs_more_than_the_reference_adds_nothing() -> None:
    guess = LogNormal(np.array([-3.0]), np.array([1.0]), 0.01)
    assert expected_gains(undominated_boxes(np.zeros((0, 2))), np.array([[1.5]]), guess).tolist() == [0.0]
