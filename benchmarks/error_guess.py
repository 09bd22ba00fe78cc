"""What known costs add to the guess of an error: the surrogate of ``frontier``, on candidates that were trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from repareto.search.frontier import outlook
from repareto.search.frontier.features import Encoder
from repareto.search.frontier.observations import to_scale
from repareto.search.frontier.outlook import Known, features_of
from repareto.search.frontier.surrogate import Surrogate, fitted_kernel
from repareto.spaces.space import SearchSpace

from .search_quality import changed
from .table import Row

MOST_KNOWN = 40
SPLITS = 8


def gains_by_costs(space: SearchSpace, rows: Sequence[Row], reference: float) -> list[float]:
    """Return, for each way to split the rows, the error of guesses with costs as features over that without them.

    At most ``MOST_KNOWN`` rows, and at most half, are known; of the others the logarithms of errors are guessed, and
    the root of the mean square of what that is off is compared. ``reference`` is that of the error.
    """
    scaled = to_scale(np.array([row.errors[-1] for row in rows]) / reference)
    with_costs = _features(space, rows)
    with changed(outlook, TELLING=()):
        without = _features(space, rows)
    known = min(MOST_KNOWN, len(rows) // 2)
    return [
        _off(with_costs, scaled, places[:known], places[known:]) / _off(without, scaled, places[:known], places[known:])
        for places in _splits(len(rows))
    ]


def _splits(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.permutation(count) for _ in range(SPLITS))


def _features(space: SearchSpace, rows: Sequence[Row]) -> np.ndarray:
    candidates = [row.candidate for row in rows]
    encoded = Encoder(space)(candidates)
    return features_of([Known(*each) for each in zip(candidates, (row.figures for row in rows), encoded, strict=True)])


def _off(features: np.ndarray, scaled: np.ndarray, known: np.ndarray, others: np.ndarray) -> float:
    kernel = fitted_kernel(features[known], scaled[known])
    surrogate = Surrogate(kernel, features[known], scaled[known], np.zeros(len(known)))
    return float(np.sqrt(np.mean((surrogate.means(features[others]) - scaled[others]) ** 2)))
