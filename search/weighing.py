"""Which members of a front are worth most: objectives brought to one scale and weighed against one another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..spaces.errors import UserError, nearest_hint
from .objectives import Objective

LOGARITHMIC_FROM = 20.0
"""Times by which figures differ, from where orders of magnitude count: as the axes of the front's page."""

Worth = Callable[[np.ndarray], np.ndarray]
"""From the objectives of a front (n, m) to a cost of each member (n,): the least is taken."""


def by_first_objective(values: np.ndarray) -> np.ndarray:
    """Return the places of members that stand by their first objective, as those of a front do."""
    return np.arange(len(values))


def worth_by(objectives: Sequence[Objective], *, knee_of_front: bool, weights: str | None) -> Worth:
    """Return the worth that a user asks for: by weights, by the knee, or else by the first objective."""
    if weights is not None:
        return weighed(parse_weights(weights, objectives))
    return knee if knee_of_front else by_first_objective


def weighed(weights: Sequence[float]) -> Worth:
    """Return the worth by a weight for each objective: the weighted sum of :func:`scaled` values."""
    return lambda values: scaled(values) @ np.asarray(weights, dtype=float)


def knee(values: np.ndarray) -> np.ndarray:
    """Return the worth whose least is the knee of a front: the member furthest below the plane through its worst ends.

    After Das 1999, "On characterizing the 'knee' of the Pareto curve based on normal-boundary intersection", on
    :func:`scaled` values; it is what equal weights choose.
    """
    return scaled(values).sum(axis=1)


def scaled(values: np.ndarray) -> np.ndarray:
    """Return each column of ``values`` (n, m) from 0, the best of the front, to 1, the worst; 0 where all are equal.

    Linear, or by orders of magnitude where a column's figures differ by more than ``LOGARITHMIC_FROM`` times.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    wide = (low > 0) & (high > LOGARITHMIC_FROM * low)
    values = np.where(wide, np.log(np.where(wide, values, 1.0)), values)
    low, high = values.min(axis=0), values.max(axis=0)
    return (values - low) / np.where(high > low, high - low, 1.0)


def parse_weights(text: str, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the weight of each objective that ``error=2,latency=1`` means; what is not named has none.

    Raises :class:`UserError` for an unknown objective, for no number, one below zero, and where all are zero.
    """
    known = [objective.name for objective in objectives]
    given: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f'--weights "{text}": not of the form objective=weight (try --weights error=2,latency=1)')
        if name not in known:
            raise UserError(f'--weights "{text}": {name} is no objective of the study ({nearest_hint(name, known)})')
        given[name] = _weight(text, value)
    if not any(given.values()):
        raise UserError(f'--weights "{text}": all are zero (give one objective a weight)')
    return tuple(given.get(name, 0.0) for name in known)


def _weight(text: str, value: str) -> float:
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise UserError(f'--weights "{text}": {value or "nothing"} is no weight (give a number, 0 or more)')
    return weight
