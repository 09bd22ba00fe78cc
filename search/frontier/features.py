"""Candidates as numbers that a model can learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ...spaces.space import Candidate, Choice, Parameter, SearchSpace, Value

ABSENT = 0.5
"""Of a number that does not exist in a candidate; its parent says that it does not."""


class Encoder:
    """Parameters in [0, 1], one column a number and one an option; of a choice of two, one column."""

    def __init__(self, space: SearchSpace) -> None:
        self._parameters = space.parameters()
        self._columns = len(self._row({}))

    def __call__(self, candidates: Sequence[Candidate]) -> np.ndarray:
        """Return shape (len(candidates), columns)."""
        rows = [self._row(dict(candidate)) for candidate in candidates]
        return np.array(rows, dtype=float).reshape(len(rows), self._columns)

    def _row(self, values: Mapping[str, Value]) -> list[float]:
        row: list[float] = []
        for parameter in self._parameters:
            row += _columns(parameter, values.get(parameter.name))
        return row


def _columns(parameter: Parameter, value: Value | None) -> list[float]:
    dimension = parameter.dimension
    if isinstance(dimension, Choice):
        options = dimension.options if len(dimension.options) > 2 else dimension.options[1:]
        return [float(value is not None and value == option) for option in options]
    if value is None:
        return [ABSENT]
    assert isinstance(value, int | float)
    return [as_share(value, dimension.low, dimension.high, log=getattr(dimension, "log", False))]


def as_share(value: float, low: float, high: float, *, log: bool) -> float:
    """Return where a number stands between two others, in [0, 1]; on a logarithmic scale where ``log``."""
    if low == high:
        return 0.0
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def decades(figures: np.ndarray) -> np.ndarray:
    """Return costs as decimal logarithms; one that is zero, such as the memory of no activation, counts as one."""
    return np.log10(np.maximum(figures, 1.0))
