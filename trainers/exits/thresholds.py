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
DOUBT_SHARE = 0.4
"""Of what may be lost, that may be expected to be."""


def exits_taken(scores: np.ndarray, thresholds: Sequence[Threshold]) -> np.ndarray:
    """Return where each example leaves, (n,), of scores (n, e): the first exit whose score reaches its threshold.

    There is a threshold for each exit but the last, which takes all that come to it.
    """
    bars = np.array([*(math.inf if bar is None else bar for bar in thresholds), -math.inf])
    assert bars.shape == scores.shape[1:], (bars.shape, scores.shape)
    return (scores >= bars).argmax(axis=1)


def upper_bound(total: np.ndarray, squares: np.ndarray, count: int, deviations: float = DEVIATIONS) -> np.ndarray:
    """Return what a mean of ``count`` losses is likely not above, of their sum and the sum of their squares.

    Wilson's interval with the variance that was seen in place of a share's: of losses that are 0 or 1 it is his, and of
    none at all it is ``1 / (count + 1)`` at one deviation.
    """
    square = deviations**2
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0)
    spread = deviations * np.sqrt(variance / count + square / (4 * count**2))
    return (mean + square / (2 * count) + spread) / (1 + square / count)


def guarded_thresholds(
    scores: np.ndarray,
    losses: np.ndarray,
    expected: np.ndarray,
    most_lost: float,
    *,
    least_accepted: int = LEAST_ACCEPTED,
) -> tuple[Threshold, ...]:
    """Return for each early exit the lowest threshold at which all that is answered early loses little, or None.

    ``scores`` are (n, e - 1), of held-out examples; ``losses`` are what it costs that the exit answers in place of the
    last one: 1 where that loses an answer that was right, -1 where it gains one. ``most_lost`` is what all exits
    together may lose on average over all n; the first of m may use up a share of 1 / m, the second what is left of
    2 / m, and so on, or one example where that is more. Of few examples a small loss is luck, so that its
    :func:`upper_bound` has to hold. An exit that would take fewer than ``least_accepted`` is off.

    The lowest threshold stands where a loss comes next: it was chosen because what lies above it was right, and a bound
    that holds for any one threshold does not hold for that. ``expected`` (n, e - 1) is what each example is expected to
    lose whatever was seen of it, no less than its loss: of that no more than ``DOUBT_SHARE`` of ``most_lost``.

    PersEPhonEE (arXiv 2102.01393, of which only the abstract could be read) asks of an exit that what it accepts is as
    often right as the last exit is on the whole. That is little asked where examples are hard and only those are
    accepted that are not, and too much where the last exit is nearly always right.
    """
    count, exits = scores.shape
    if not count:
        return (None,) * exits
    left = np.ones(count, dtype=bool)
    lost = squares = doubted = 0.0
    thresholds: list[Threshold] = []
    for index in range(exits):
        places = np.flatnonzero(left)
        order = places[np.argsort(-scores[places, index], kind="stable")]
        ordered = scores[order, index]
        sums, sums_of_squares = lost + losses[order, index].cumsum(), squares + (losses[order, index] ** 2).cumsum()
        doubts = doubted + expected[order, index].cumsum()
        share = (index + 1) / exits
        # Equal scores are accepted together.
        is_a_step = np.append(ordered[1:] < ordered[:-1], True)[: len(order)]
        holds = upper_bound(sums, sums_of_squares, count) <= max(most_lost * share, 1 / count)
        holds &= doubts <= DOUBT_SHARE * most_lost * share * count
        good = np.flatnonzero(is_a_step & holds & (np.arange(1, len(order) + 1) >= least_accepted))
        if len(good) == 0:
            thresholds.append(None)
            continue
        thresholds.append(float(ordered[good[-1]]))
        lost, squares, doubted = (float(total[good[-1]]) for total in (sums, sums_of_squares, doubts))
        left[order[: good[-1] + 1]] = False
    return tuple(thresholds)
