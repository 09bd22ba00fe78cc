"""Guesses of errors: near what is known, unsure elsewhere, and certain of nothing."""

import numpy as np

from repareto.search.frontier.observations import SHIFT, to_scale
from repareto.search.frontier.surrogate import Surrogate, fitted_kernel


def errors_at(x: np.ndarray) -> np.ndarray:
    """Only the first of three features matters."""
    return 0.1 + 0.5 * (x[:, 0] - 0.3) ** 2


def surrogate_of(n: int = 40) -> Surrogate:
    x = np.random.default_rng(0).uniform(size=(n, 3))
    scaled = to_scale(errors_at(x))
    return Surrogate(fitted_kernel(x, scaled), x, scaled, np.zeros(n))


def test_it_finds_what_matters_and_is_right_between_known_points() -> None:
    x = np.random.default_rng(1).uniform(size=(50, 3))
    guess = surrogate_of().guess(x)
    np.testing.assert_allclose(guess.median, errors_at(x), rtol=0.1)
    assert (guess.deviation > 0).all()


def test_it_is_less_sure_far_away_and_surer_where_something_runs() -> None:
    surrogate, far = surrogate_of(), np.full((1, 3), 3.0)
    before = surrogate.guess(far)
    assert before.deviation > 3 * surrogate.guess(np.full((1, 3), 0.5)).deviation
    after = surrogate.believing(far).guess(far)
    assert after.deviation < before.deviation
    np.testing.assert_allclose(after.mean, before.mean, rtol=1e-3)


def test_what_is_uncertain_counts_less() -> None:
    x = np.linspace(0, 1, 10)[:, None]
    scaled = to_scale(np.full(10, 0.3))
    kernel = fitted_kernel(x, to_scale(0.1 + 0.4 * x[:, 0]))
    scaled[5] = to_scale(np.array(1.5))
    sure, unsure = (Surrogate(kernel, x, scaled, variance * np.eye(10)[5]) for variance in (0.0, 4.0))
    assert sure.guess(x[5:6]).median > 1.2 * unsure.guess(x[5:6]).median


def test_equal_errors_and_wild_ones_are_no_trouble() -> None:
    x = np.linspace(0, 1, 4)[:, None]
    scaled = to_scale(np.full(4, 0.2))
    guess = Surrogate(fitted_kernel(x, scaled), x, scaled, np.zeros(4)).guess(x)
    np.testing.assert_allclose(guess.median, 0.2, rtol=1e-6)
    assert np.isfinite(to_scale(np.array([0.0, np.inf, 1e300]))).all()
    assert to_scale(np.array(0.0)) == np.log(SHIFT)
