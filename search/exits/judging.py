"""How a trained network with early exits fares: its trades of error for cost, and the one that its trial stands for.

All is calibrated on the validation split; the test split is only reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...spaces.exits.network import MultiExit
from ...trainers.data.dataset import Dataset
from ...trainers.exits.answers import exit_logits
from ...trainers.exits.operating_points import (
    Calibration,
    OperatingPoint,
    errors_by_exit,
    least_cost,
    least_error,
    point_at,
    sweep,
)
from ...trainers.exits.scoring import scoring_of
from ...trainers.judgement import Judgement
from ..devices.profile import Profile
from .bounds import Bounds
from .costs import costs_up_to

SPLITS = ("validation", "test")
MOST_LOST = 0.005
"""Of the error, against the last exit alone, at the point that a trial stands for."""
MOST_LOST_AT_ALL = 0.1
"""At any point that is kept: cheaper ones there are down to guessing, and nobody ships them."""


def judge_exits(
    network: MultiExit, dataset: Dataset, stages: Sequence[Profile], bounds: Bounds, device: str
) -> Judgement:
    """Return what :func:`judge_logits` does of a fused network in eval mode on ``device``."""
    splits = {name: getattr(dataset, name).features for name in SPLITS}
    logits = {name: exit_logits(network, features, device=device) for name, features in splits.items()}
    return judge_logits(logits, dataset, network.policies, stages, bounds)


def judge_logits(
    logits: Mapping[str, np.ndarray],
    dataset: Dataset,
    policies: Sequence[str],
    stages: Sequence[Profile],
    bounds: Bounds,
) -> Judgement:
    """Return the figures of the chosen operating point, and in ``details["exits"]`` all points and the calibration.

    The chosen point is the cheapest whose error is at most half a point above that of the last exit alone; where that
    breaks the bound on the expected latency, the one of the least error within it. Costs are the latency of the
    ``stages`` where the device claims one, else their MACs. ``logits`` (n, e, *steps, c) are of each of ``SPLITS``.
    """
    splits, scoring = {name: getattr(dataset, name) for name in SPLITS}, scoring_of(dataset)
    calibration = Calibration.of(logits["validation"], dataset.validation.labels, scoring)
    probabilities = {name: calibration.probabilities(values) for name, values in logits.items()}
    errors = {name: errors_by_exit(scoring, values, splits[name].labels) for name, values in logits.items()}
    costs = {figure: costs_up_to(stages, figure) for figure in ("latency_us", "macs") if getattr(stages[0], figure)}
    unit = next(iter(costs))
    swept = sweep(policies, probabilities["validation"], errors["validation"]["error"], costs[unit])
    last_error = calibration.errors[-1]
    points = _within(swept, min(bounds.error, last_error + MOST_LOST_AT_ALL), bounds.expected_latency_us, unit)
    chosen = least_cost(points, last_error + MOST_LOST)
    told = [_told(point, probabilities["test"], errors["test"], costs) for point in points]
    place = points.index(chosen)
    details = {
        "labels": list(dataset.labels),
        "cost_unit": unit,
        "costs_up_to": {figure: list(values) for figure, values in costs.items()},
        **{name: list(values) for name, values in asdict(calibration).items()},
        "points": told,
        "chosen": place,
    }
    return Judgement(figures_of_point(told[place]), {"exits": details})


def _within(
    points: Sequence[OperatingPoint], most_error: float, most_latency_us: float, unit: str
) -> list[OperatingPoint]:
    """The points that hold the bounds, or the one of the least error that is cheap enough, or the cheapest."""
    most_cost = most_latency_us if unit == "latency_us" else math.inf
    fitting = [point for point in points if point.error <= most_error and point.expected_cost <= most_cost]
    return fitting or [least_error(points, most_cost)]


def _told(
    point: OperatingPoint,
    probabilities: np.ndarray,
    errors: Mapping[str, np.ndarray],
    costs: Mapping[str, tuple[float, ...]],
) -> dict[str, Any]:
    """A point as JSON types, with what it comes to on the test split and in each unit of cost."""
    unit = next(iter(costs.values()))
    tested = {name: point_at(point.policy, point.thresholds, probabilities, own, unit) for name, own in errors.items()}
    rates = np.array(point.rates)
    return {
        "policy": point.policy,
        "thresholds": list(point.thresholds),
        "rates": list(point.rates),
        "error": point.error,
        **{f"test_{name}": there.error for name, there in tested.items()},
        "test_rates": list(tested["error"].rates),
        **{f"expected_{figure}": float(rates @ np.array(up_to)) for figure, up_to in costs.items()},
    }


def figures_of_point(point: dict[str, Any]) -> dict[str, float]:
    """Return the figures that differ from point to point."""
    return {key: value for key, value in point.items() if isinstance(value, float)}
