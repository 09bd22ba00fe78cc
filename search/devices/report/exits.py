"""What a model with early exits costs: on average, and at worst.

A sample leaves at the first exit that is sure enough, else at the last. It has then paid every stage and every head up
to there (BranchyNet, arXiv 1709.01686; PersEPhonEE, arXiv 2102.01393):

    expected = sum_i P(exit i) . cost up to exit i, heads included        worst = cost of all

The same arithmetic holds for latency, MACs and energy. Nothing is said of memory and flash: all exits are always there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ....spaces.errors import UserError

_PROBABILITY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ExitCosts:
    """Costs of a model with exits, all in the unit of its stages; ``up_to`` is what a sample has paid at each exit."""

    up_to: tuple[float, ...]
    probabilities: tuple[float, ...]

    @property
    def expected(self) -> float:
        """The mean over samples."""
        return math.fsum(cost * share for cost, share in zip(self.up_to, self.probabilities, strict=True))

    @property
    def worst(self) -> float:
        """What a sample costs that no exit is sure of: a deadline has to hold this."""
        return self.up_to[-1]


def exit_costs(stages: Sequence[float], heads: Sequence[float], probabilities: Sequence[float]) -> ExitCosts:
    """The costs of a model whose stage ``i`` is followed by head ``i``, where a share of the samples leaves.

    All three have one value an exit, the last exit included; costs are not negative, and the shares add up to one.
    Raises ``UserError`` that names what is not so.
    """
    if not len(stages) == len(heads) == len(probabilities) or not stages:
        raise UserError(
            f"exits: {len(stages)} stages, {len(heads)} heads and {len(probabilities)} probabilities "
            "(give one of each an exit, the last exit included)"
        )
    for name, values in (("stage", stages), ("head", heads), ("probability", probabilities)):
        for number, value in enumerate(values):
            if not 0 <= value < math.inf:
                raise UserError(f"exits: {name} {number} is {value} (give a finite number that is not negative)")
    total = math.fsum(probabilities)
    if abs(total - 1) > _PROBABILITY_TOLERANCE:
        raise UserError(f"exits: the probabilities add up to {total:g} (every sample leaves once: they add up to 1)")
    steps = (stage + head for stage, head in zip(stages, heads, strict=True))
    return ExitCosts(tuple(accumulate(steps)), tuple(probabilities))


def exit_probabilities(confidences: np.ndarray, thresholds: Sequence[float]) -> tuple[float, ...]:
    """The share of samples that leaves at each exit, from what held-out samples showed.

    ``confidences`` has shape (n, exits), the largest class probability at each exit; ``thresholds`` one value for each
    exit but the last, which takes all that come to it. Raises ``UserError`` for other shapes, no samples or NaN.
    """
    if confidences.ndim != 2 or len(confidences) == 0 or confidences.shape[1] != len(thresholds) + 1:
        raise UserError(
            f"exits: confidences of shape {confidences.shape} and {len(thresholds)} thresholds "
            "(give one row a held-out sample, and a threshold for each exit but the last)"
        )
    if np.isnan(confidences).any():
        raise UserError("exits: a confidence is NaN (score the exits on finite inputs)")
    sure = confidences >= np.array([*thresholds, -np.inf])
    exits = sure.argmax(axis=1)  # the first that is true
    counts = np.bincount(exits, minlength=confidences.shape[1])
    return tuple((counts / len(confidences)).tolist())
