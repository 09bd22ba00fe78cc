"""Objectives on one scale, weighed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from repareto.search.objectives import objective
from repareto.search.weighing import knee, parse_weights, scaled, weighed
from repareto.spaces.errors import UserError

OBJECTIVES = [objective(name) for name in ("error", "latency", "peak_memory")]
FRONTS = arrays(float, st.tuples(st.integers(1, 8), st.integers(2, 4)), elements=st.floats(0, 1e6))


@given(FRONTS)
def test_the_scale_goes_from_the_best_to_the_worst(values: np.ndarray) -> None:
    told = scaled(values)
    assert (told >= 0).all() and (told <= 1 + 1e-12).all()
    assert (told.min(axis=0) == 0).all()
    for column, own in zip(told.T, values.T, strict=True):
        assert (np.diff(column[np.argsort(own, kind="stable")]) >= 0).all()


@given(FRONTS)
def test_the_knee_is_what_equal_weights_choose(values: np.ndarray) -> None:
    np.testing.assert_allclose(knee(values), weighed([1.0] * values.shape[1])(values), atol=1e-12)


def test_orders_of_magnitude_count_where_figures_differ_by_them() -> None:
    # Of a line between its ends the middle is no better than they are; bent inwards it is the knee.
    line = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(knee(line), 1.0)
    bent = np.array([[0.1, 1000.0], [0.2, 30.0], [0.4, 10.0]])
    assert knee(bent).argmin() == 1
    np.testing.assert_allclose(scaled(bent)[:, 1], [1.0, np.log(3) / np.log(100), 0.0])
    np.testing.assert_allclose(scaled(bent)[:, 0], [0.0, 1 / 3, 1.0])


def test_weights_of_a_command_line() -> None:
    assert parse_weights("error=2, latency=1", OBJECTIVES) == (2.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("error", "not of the form objective=weight"),
        ("eror=1", "eror is no objective of the study"),
        ("macs=1", "macs is no objective of the study"),
        ("error=much", "much is no weight"),
        ("error=-1", "-1 is no weight"),
        ("error=nan", "nan is no weight"),
        ("error=0", "all are zero"),
    ],
)
def test_weights_that_mean_nothing(text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_weights(text, OBJECTIVES)
