"""From which score on an exit may answer.

Shape legend: n examples, e exits (the last one included).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Threshold = float | None
"""None: the exit is off."""
LEAST_ACCEPTED = 8
DEVIATIONS = 1.0
"""Of the confidence bound: five of six such bounds hold."""


def exits_taken(scores: np.ndarray, thresholds: Sequence[Threshold]) -> np.ndarray:
    """Return where each example leaves, (n,), of scores (n, e): the first exit whose score reaches its threshold.

    There is a threshold for each exit but the last, which takes all that come to it.
    """
    bars = np.array([*(math.inf if bar is None else bar for bar in thresholds), -math.inf])
    assert bars.shape == scores.shape[1:], (bars.shape, scores.shape)
    return (scores >= bars).argmax(axis=1)


def lower_bound(successes: np.ndarray, trials: np.ndarray, deviations: float = DEVIATIONS) -> np.ndarray:
    """Return what a share is likely not below, by Wilson's score interval (1927), elementwise."""
    square = deviations**2
    share = successes / trials
    spread = deviations * np.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return (share + square / (2 * trials) - spread) / (1 + square / trials)


def quality_thresholds(
    scores: np.ndarray,
    right: np.ndarray,
    aim: float,
    *,
    least_accepted: int = LEAST_ACCEPTED,
    deviations: float = DEVIATIONS,
) -> tuple[Threshold, ...]:
    """Return for each early exit the lowest threshold at which what it accepts is right often enough, or None.

    ``scores`` and ``right`` are (n, e - 1), of held-out examples; ``aim`` is what share is to be right, that of the
    last exit. An exit is judged by those that the exits before it leave to it. Of few examples a high share is luck, so
    that its :func:`lower_bound` has to reach the aim, of ``least_accepted`` or more. After PersEPhonEE (arXiv
    2102.01393); the rule is a reconstruction, for of the paper only the abstract could be read.
    """
    left = np.ones(len(scores), dtype=bool)
    thresholds: list[Threshold] = []
    for index in range(scores.shape[1]):
        own = scores[left, index]
        order = np.argsort(-own, kind="stable")
        ordered, successes = own[order], np.cumsum(right[left, index][order])
        counts = np.arange(1, len(own) + 1)
        # Equal scores are accepted together.
        is_a_step = np.append(ordered[1:] < ordered[:-1], True)[: len(own)]
        reached = lower_bound(successes, counts, deviations) >= aim
        good = np.flatnonzero(is_a_step & reached & (counts >= least_accepted))
        if len(good) == 0:
            thresholds.append(None)
            continue
        thresholds.append(float(ordered[good[-1]]))
        left &= scores[:, index] < ordered[good[-1]]
    return tuple(thresholds)
