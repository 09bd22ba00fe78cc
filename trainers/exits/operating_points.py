"""One trained network, many trades of error for cost: thresholds swept on held-out answers.

Shape legend: n examples, e exits (the last one included), *steps of a transcriber, none of a classifier, c classes or
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .policies import POLICIES
from .scoring import Scoring
from .temperature import softmax
from .thresholds import Threshold, exits_taken

LEVELS = 16
"""Thresholds that are tried of one exit, beside it being off."""
MOST_POINTS = 24
_ROUNDING = 1e-9
"""Of the mean of what examples add to an error."""


@dataclass(frozen=True)
class OperatingPoint:
    """``error`` and ``rates``, the share of examples that leaves at each exit, are of held-out examples."""

    policy: str
    thresholds: tuple[Threshold, ...]
    rates: tuple[float, ...]
    error: float
    expected_cost: float
    """In the unit of the costs that were given."""


@dataclass(frozen=True)
class Calibration:
    """What held-out answers say of each exit, the last one included."""

    temperatures: tuple[float, ...]
    errors: tuple[float, ...]
    """Of the exit alone."""
    calibration_errors: tuple[float, ...]
    """Expected calibration error, with the temperature."""

    @classmethod
    def of(cls, logits: np.ndarray, labels: np.ndarray, scoring: Scoring) -> Calibration:
        """Fit to logits (n, e, *steps, c) and labels of examples that trained nothing."""
        by_exit = logits.swapaxes(0, 1)
        temperatures = tuple(scoring.temperature(own, labels) for own in by_exit)
        scaled = [own / temperature for own, temperature in zip(by_exit, temperatures, strict=True)]
        return cls(
            temperatures,
            tuple(errors_by_exit(scoring, logits, labels)["error"].mean(0).tolist()),
            tuple(scoring.calibration_error(own, labels) for own in scaled),
        )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the probabilities of logits (n, e, *steps, c)."""
        return softmax(logits / np.array(self.temperatures).reshape(-1, *[1] * (logits.ndim - 2)))


def errors_by_exit(scoring: Scoring, logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each example would add to each error at each exit, (n, e), of logits (n, e, *steps, c)."""
    by_exit = [scoring.errors(own, labels) for own in logits.swapaxes(0, 1)]
    return {name: np.stack([own[name] for own in by_exit], 1) for name in by_exit[0]}


def point_at(
    policy: str,
    thresholds: Sequence[Threshold],
    probabilities: np.ndarray,
    errors: np.ndarray,
    cost_up_to: Sequence[float],
) -> OperatingPoint:
    """Return what thresholds come to on probabilities (n, e, *steps, c).

    ``errors`` (n, e) are one of :func:`errors_by_exit`; ``cost_up_to`` is what an example has cost at each exit,
    heads included.
    """
    return _point(policy, tuple(thresholds), POLICIES[policy](probabilities), errors, np.asarray(cost_up_to, float))


def _point(
    policy: str, thresholds: tuple[Threshold, ...], scores: np.ndarray, errors: np.ndarray, cost_up_to: np.ndarray
) -> OperatingPoint:
    taken = exits_taken(scores, thresholds)
    rates = np.bincount(taken, minlength=len(cost_up_to)) / len(taken)
    error = float(errors[np.arange(len(taken)), taken].mean())
    return OperatingPoint(policy, thresholds, tuple(rates.tolist()), error, float(rates @ cost_up_to))


def sweep(
    policies: Sequence[str], probabilities: np.ndarray, errors: np.ndarray, cost_up_to: Sequence[float]
) -> tuple[OperatingPoint, ...]:
    """Return the operating points that no other one dominates in error and expected cost, the cheapest first.

    Arguments as of :func:`point_at`. All exits off is among what is tried, so that no error above the last exit's is
    the least; at most ``MOST_POINTS``, spread evenly over the front.
    """
    costs = np.asarray(cost_up_to, dtype=float)
    points = []
    for policy in policies:
        scores = POLICIES[policy](probabilities)
        points += [_point(policy, bars, scores, errors, costs) for bars in _combinations(policy, scores)]
    front: list[OperatingPoint] = []
    for point in sorted(points, key=lambda point: (point.expected_cost, point.error)):
        if not front or point.error < front[-1].error - _ROUNDING:
            front.append(point)
    if len(front) > MOST_POINTS:
        front = [front[round(place)] for place in np.linspace(0, len(front) - 1, MOST_POINTS)]
    return tuple(front)


def _combinations(policy: str, scores: np.ndarray) -> Iterator[tuple[Threshold, ...]]:
    """All thresholds that are tried together; patience has one for all exits."""
    early = scores.shape[1] - 1
    if policy == "patience":
        yield from ((float(run),) * early for run in range(1, early + 1))
        yield (None,) * early
        return
    shares = np.linspace(0, 1, LEVELS)
    levels: list[list[Threshold]] = [
        [*np.unique(np.quantile(scores[:, index], shares, method="higher")).tolist(), None] for index in range(early)
    ]
    yield from product(*levels)


def least_cost(points: Sequence[OperatingPoint], most_error: float) -> OperatingPoint:
    """Return the cheapest point whose error is not above, or the one of the least error where there is none."""
    fitting = [point for point in points if point.error <= most_error]
    if fitting:
        return min(fitting, key=lambda point: (point.expected_cost, point.error))
    return min(points, key=lambda point: (point.error, point.expected_cost))


def least_error(points: Sequence[OperatingPoint], most_cost: float) -> OperatingPoint:
    """Return the point of the least error whose expected cost is not above, or the cheapest where there is none."""
    fitting = [point for point in points if point.expected_cost <= most_cost]
    if fitting:
        return min(fitting, key=lambda point: (point.error, point.expected_cost))
    return min(points, key=lambda point: (point.expected_cost, point.error))
