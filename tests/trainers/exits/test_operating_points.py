"""Sweeps against trying everything."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.trainers.exits.operating_points import (
    MOST_POINTS,
    Calibration,
    OperatingPoint,
    least_cost,
    least_error,
    point_at,
    sweep,
)
from repareto.trainers.exits.policies import POLICIES
from repareto.trainers.exits.scoring import ScoredClasses
from repareto.trainers.exits.temperature import softmax


def answers(seed: int, exits: int = 3, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Logits of exits that are the better the later, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    logits = rng.standard_normal((count, exits, 3))
    for index in range(exits):
        logits[np.arange(count), index, labels] += index + 0.5
    return logits, labels


def wrong_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return logits.argmax(2) != labels[:, None]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_point_by_a_loop(policy: str) -> None:
    logits, labels = answers(0)
    probabilities, costs = softmax(logits), (1.0, 3.0, 10.0)
    bars = (2.0, 2.0) if policy == "patience" else (0.6, None)
    point = point_at(policy, bars, probabilities, wrong_of(logits, labels), costs)
    scores, wrong, paid, left = POLICIES[policy](probabilities), 0, 0.0, [0, 0, 0]
    for n, row in enumerate(scores):
        taken = next((i for i, bar in enumerate(bars) if bar is not None and row[i] >= bar), 2)
        wrong += probabilities[n, taken].argmax() != labels[n]
        paid += costs[taken]
        left[taken] += 1
    assert point.error == pytest.approx(wrong / 12)
    assert point.expected_cost == pytest.approx(paid / 12)
    assert point.rates == pytest.approx(np.array(left) / 12)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 3))
def test_no_thresholds_dominate_what_a_sweep_finds(seed: int, exits: int) -> None:
    logits, labels = answers(seed, exits)
    probabilities, errors, costs = softmax(logits), wrong_of(logits, labels), tuple(range(1, exits + 1))
    points = sweep(("confidence",), probabilities, errors, costs)
    scores = POLICIES["confidence"](probabilities)
    # Twelve examples have no more scores than a sweep has levels: it tries all there are.
    levels = [[*np.unique(scores[:, index]), None] for index in range(exits - 1)]
    everything = [point_at("confidence", bars, probabilities, errors, costs) for bars in product(*levels)]
    for point in points:
        assert not any(
            (other.error <= point.error and other.expected_cost <= point.expected_cost - 1e-12)
            or (other.error < point.error - 1e-12 and other.expected_cost <= point.expected_cost)
            for other in everything
        )
    assert min(point.error for point in points) == pytest.approx(min(point.error for point in everything))
    assert points[0].expected_cost == pytest.approx(min(point.expected_cost for point in everything))


def test_policies_compete_and_the_curve_stays_short() -> None:
    logits, labels = answers(1, count=3000)
    probabilities = softmax(logits)
    points = sweep(tuple(POLICIES), probabilities, wrong_of(logits, labels), (1.0, 2.0, 4.0))
    assert 3 <= len(points) <= MOST_POINTS
    errors, costs = [point.error for point in points], [point.expected_cost for point in points]
    assert errors == sorted(errors, reverse=True) and costs == sorted(costs)
    assert min(errors) <= 1 - (probabilities[:, -1].argmax(1) == labels).mean()


def point(error: float, cost: float) -> OperatingPoint:
    return OperatingPoint("confidence", (0.5,), (0.5, 0.5), error, cost)


def test_choosing_a_point() -> None:
    points = (point(0.3, 1), point(0.2, 2), point(0.1, 4))
    assert least_cost(points, 0.25) == points[1] and least_cost(points, 0.05) == points[2]
    assert least_error(points, 3) == points[1] and least_error(points, 0.5) == points[0]


def test_calibration_is_of_each_exit() -> None:
    logits, labels = answers(2, count=400)
    scaled = logits * [[[2.0], [1.0], [0.5]]]
    found, other = (Calibration.of(own, labels, ScoredClasses()) for own in (logits, scaled))
    assert np.array(other.temperatures) / found.temperatures == pytest.approx([2, 1, 0.5], rel=1e-6)
    assert other.probabilities(scaled) == pytest.approx(found.probabilities(logits))
    assert found.errors == pytest.approx((logits.argmax(2) != labels[:, None]).mean(0))
    assert max(found.calibration_errors) < 0.15
