"""Pareto successive halving: who goes on at a rung.

The asynchronous stopping rule of ASHA (Li et al. 2020, arXiv 1810.05934) with the non-dominated rank in place of one
metric, as MO-ASHA (Schmucker et al. 2021, arXiv 2106.12639) ranks. What nothing at its rung dominates always goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from .front import pareto_ranks


class ParetoRungs:
    """Keeps, for each rung, the objective values seen there, and decides on each newcomer at once."""

    def __init__(self, rungs_epochs: Sequence[int], reduction: float) -> None:
        self.rungs_epochs = tuple(rungs_epochs)
        self.reduction = reduction
        self._seen: dict[int, dict[int, tuple[float, ...]]] = {epoch: {} for epoch in rungs_epochs}

    def record(self, number: int, epoch: int, values: Sequence[float]) -> None:
        """Remember what trial ``number`` had at ``epoch``; epochs that are no rung are ignored."""
        if epoch in self._seen:
            self._seen[epoch][number] = tuple(values)

    def goes_on(self, number: int, epoch: int) -> bool:
        """Return whether the recorded trial ranks among the best ``1 / reduction`` at this rung, ties included."""
        if epoch not in self._seen:
            return True
        seen = self._seen[epoch]
        ranks = pareto_ranks(np.array(list(seen.values())))
        rank = ranks[list(seen).index(number)]
        better = int((ranks < rank).sum())
        return better < ceil(len(ranks) / self.reduction)


def default_rungs(epochs: int, reduction: float, first_epoch: int) -> tuple[int, ...]:
    """Return ``first_epoch``, ``first_epoch * reduction``, ... while a stop there saves a quarter of ``epochs``."""
    rungs: list[int] = []
    epoch = float(first_epoch)
    while round(epoch) <= 0.75 * epochs:
        rungs.append(round(epoch))
        epoch *= reduction
    return tuple(dict.fromkeys(rungs))
