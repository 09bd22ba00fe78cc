"""Fronts, ranks and hypervolume against slow oracles and closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from optuna._hypervolume import compute_hypervolume

from repareto.search.front import GrowingFront, hypervolume, on_front, pareto_ranks
from repareto.spaces.errors import UserError


@st.composite
def points(draw, max_rows: int = 12):
    """Few different coordinates, so that ties, duplicates and equal columns are common."""
    shape = (draw(st.integers(0, max_rows)), draw(st.integers(1, 4)))
    coarse = draw(st.booleans())
    elements = st.integers(0, 3).map(float) if coarse else st.floats(0, 2, width=16)
    return draw(hnp.arrays(float, shape, elements=elements))


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def peeled_ranks(values: np.ndarray) -> np.ndarray:
    """Take the front away, again and again."""
    ranks = np.full(len(values), -1)
    for rank in itertools.count():
        left = [i for i in range(len(values)) if ranks[i] < 0]
        if not left:
            return ranks
        front = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        ranks[front] = rank
    raise AssertionError


def inclusion_exclusion(values: np.ndarray, reference: np.ndarray) -> float:
    """The volume of a union of boxes, over all subsets of the rows."""
    total = 0.0
    for size in range(1, len(values) + 1):
        for chosen in itertools.combinations(values, size):
            edges = np.maximum(reference - np.max(chosen, axis=0), 0)
            total += (-1) ** (size + 1) * float(np.prod(edges))
    return total / float(np.prod(reference))


@given(points())
def test_ranks_are_those_of_peeling(values: np.ndarray) -> None:
    assert pareto_ranks(values).tolist() == peeled_ranks(values).tolist()


@given(points())
def test_the_front_is_rank_zero(values: np.ndarray) -> None:
    members = on_front(values)
    assert members.dtype == bool and members.shape == (len(values),)
    assert members.tolist() == (peeled_ranks(values) == 0).tolist()


@given(points(), st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_rows(values: np.ndarray, random) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    assert pareto_ranks(values[order]).tolist() == pareto_ranks(values)[order].tolist()


@settings(max_examples=60)
@given(points(max_rows=6))
def test_hypervolume_is_the_union_of_boxes(values: np.ndarray) -> None:
    reference = np.full(values.shape[1], 2.5)
    assert hypervolume(values, reference) == pytest.approx(inclusion_exclusion(values, reference), abs=1e-9)


@given(points())
def test_hypervolume_agrees_with_optuna(values: np.ndarray) -> None:
    reference = np.arange(2.0, 2 + values.shape[1])
    # Optuna refuses rows beyond the reference, which dominate nothing: on its border they dominate nothing either.
    inside = np.minimum(values, reference)
    expected = compute_hypervolume(inside, reference) / np.prod(reference) if len(values) else 0.0
    assert hypervolume(values, reference) == pytest.approx(expected, abs=1e-9)


@given(points(), st.floats(0.01, 1000))
def test_hypervolume_is_a_share_that_no_unit_changes_and_no_point_lowers(values: np.ndarray, unit: float) -> None:
    reference = np.full(values.shape[1], 2.5)
    share = hypervolume(values, reference)
    assert 0 <= share <= 1
    assert hypervolume(values * unit, reference * unit) == pytest.approx(share, abs=1e-9)
    if len(values):
        assert hypervolume(values[:-1], reference) <= share + 1e-12
        assert hypervolume(np.concatenate([values, values[:1]]), reference) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "reference", "share"),
    [
        (np.zeros((0, 2)), (1, 1), 0),
        ([[0, 0, 0]], (5, 6, 7), 1),
        ([[1, 1]], (2, 4), 0.5 * 0.75),
        ([[2, 4]], (2, 4), 0),
        ([[3, 0]], (2, 4), 0),
        ([[1, 0], [0, 2]], (2, 4), 0.75),
        ([[-1, 2]], (2, 4), 0.5),
        ([[1, 1], [1, 1], [1.5, 1]], (2, 4), 0.5 * 0.75),
    ],
)
def test_hypervolume_in_closed_form(values: object, reference: tuple[float, ...], share: float) -> None:
    assert hypervolume(np.array(values, float), np.array(reference, float)) == pytest.approx(share)


@given(points())
def test_a_front_that_grows_is_at_each_row_that_of_all_rows(values: np.ndarray) -> None:
    reference = np.full(values.shape[1], 2.5)
    front = GrowingFront(reference)
    assert front.members == [] and front.hypervolume == 0
    for count, row in enumerate(values, 1):
        front.add(100 + count, tuple(row))
        known = values[:count]
        assert front.members == [101 + index for index in np.flatnonzero(on_front(known))]
        assert front.hypervolume == pytest.approx(hypervolume(known, reference), abs=1e-12)


def test_a_row_that_does_not_reach_a_growing_front_costs_no_hypervolume(monkeypatch: pytest.MonkeyPatch) -> None:
    front = GrowingFront(np.array([2.0, 2.0]))
    front.add(0, (1.0, 1.0))
    monkeypatch.setattr("repareto.search.front.hypervolume", None)
    front.add(1, (1.5, 1.0))
    front.add(2, (1.0, 1.0))
    assert front.members == [0, 2]
    assert front.hypervolume == 0.25


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_at_the_door(bad: float) -> None:
    values = np.array([[1.0, 2.0], [3.0, bad]])
    for function in (pareto_ranks, on_front, lambda v: hypervolume(v, np.ones(2))):
        with pytest.raises(UserError, match="must be finite, row 1 is not"):
            function(values)
    with pytest.raises(UserError, match="must be finite"):
        GrowingFront(np.ones(2)).add(0, values[1])


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2), ()])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(n, m\)"):
        pareto_ranks(np.zeros(shape))


def test_one_row_and_equal_rows_are_the_front_and_the_input_stays() -> None:
    assert pareto_ranks(np.array([[5.0, 5.0]])).tolist() == [0]
    values = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]])
    before = values.copy()
    assert pareto_ranks(values).tolist() == [0, 0, 1]
    assert on_front(values).tolist() == [True, True, False]
    hypervolume(values, np.array([3.0, 3.0]))
    assert (values == before).all()
