"""Temperatures against a fine grid, calibration error against its definition bin by bin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.trainers.exits.temperature import expected_calibration_error, fit_temperature, softmax


def likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return float(-np.log(softmax(logits, temperature)[np.arange(len(labels)), labels]).mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, **bins: int) -> float:
    return expected_calibration_error(probabilities.max(1), probabilities.argmax(1) == labels, **bins)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.3, 4))
def test_no_temperature_of_a_fine_grid_is_likelier(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = scale * rng.standard_normal((60, 4)), rng.integers(0, 4, 60)
    logits[np.arange(60), labels] += scale
    found = likelihood(logits, labels, fit_temperature(logits, labels))
    assert all(found <= likelihood(logits, labels, t) + 1e-9 for t in np.geomspace(0.05, 20, 200))


def test_the_temperature_of_answers_drawn_from_their_own_probabilities_is_one() -> None:
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal((40_000, 3))
    labels = (softmax(logits).cumsum(1) < rng.random((40_000, 1))).sum(1)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.05)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, abs=0.15)
    assert calibration_error(softmax(logits), labels) < 0.02
    assert calibration_error(softmax(3 * logits), labels) > 0.1


def test_examples_that_are_all_right_end_at_a_bound() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 3.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(0.05, rel=1e-6)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(20, rel=1e-6)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_calibration_error_by_its_definition(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, labels = softmax(rng.standard_normal((count, 3))), rng.integers(0, 3, count)
    expected = 0.0
    for index in range(10):
        inside = [p for p in range(count) if index / 10 <= probabilities[p].max() < (index + 1) / 10]
        if inside:
            sure = np.mean([probabilities[p].max() for p in inside])
            right = np.mean([probabilities[p].argmax() == labels[p] for p in inside])
            expected += len(inside) / count * abs(sure - right)
    assert calibration_error(probabilities, labels, bins=10) == pytest.approx(expected)


def test_a_certainty_falls_into_the_last_bin() -> None:
    assert expected_calibration_error(np.array([1.0]), np.array([True])) == 0
