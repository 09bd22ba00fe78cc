"""How sure an error is, and which members of a front another model may be as good as.

Two things make an error noisy: the examples that judge it are few, and another seed would have trained another network.
Of a model that was trained again on other seeds the spread of those says both, without the luck by which the first one
was chosen. Intervals hold in nine cases of ten.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from math import nan

import numpy as np

from .records import TrialRecord
from .results import Results, objective_values

CONFIDENCE = 0.9
CONFIDENCE_DEVIATIONS = 1.645
"""Of a normal distribution."""
RIVALS_TOLD = 3
"""Of the models that a front's member may be no better than, wherever it is shown."""
FEWEST_REPEATS = 2
"""With fewer there is no spread."""


def share_interval(share: float, examples: int) -> tuple[float, float]:
    """Return between what a share of so many examples lies, by Wilson's score interval (1927)."""
    square = CONFIDENCE_DEVIATIONS**2 / examples
    middle = (share + square / 2) / (1 + square)
    spread = (share * (1 - share) * square + square**2 / 4) ** 0.5 / (1 + square)
    return max(0.0, middle - spread), min(1.0, middle + spread)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return between what the mean lies that so many values are drawn around, by Student's t; from two values on."""
    from scipy.special import stdtrit  # a third of a second, for studies with repeats only

    mean, spread = statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5
    width = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * spread
    return mean - width, mean + width


def error_interval(record: TrialRecord, examples: int | None) -> tuple[float, float] | None:
    """Return between what a finished trial's error lies; None where nobody can tell.

    ``examples`` are those that the error is a share of, None where it is no such share.
    """
    assert record.measurement is not None
    if len(record.repeats) >= FEWEST_REPEATS:
        low, high = mean_interval(record.repeats)
        return max(0.0, low), high
    return None if examples is None else share_interval(record.measurement.figures["error"], examples)


def rivals(results: Results, examples: int | None) -> Mapping[int, tuple[int, ...]]:
    """Return, by the number of a front's member, the models that cost no more and whose errors may be no larger.

    Those with rivals are on the front within the noise. Differences of errors have both intervals' widths. ``examples``
    as for :func:`error_interval`.
    """
    finished = results.finished
    values, reaches = results.values(finished), np.array([_reach(record, examples) for record in finished])
    found: dict[int, tuple[int, ...]] = {}
    for member in results.front:
        error, *costs = objective_values(results.objectives, member)
        cheap = (values[:, 1:] <= costs).all(axis=1)
        # Of what nobody can tell the reach is NaN, which is never enough.
        as_good = cheap & (values[:, 0] <= error + np.hypot(reaches, _reach(member, examples)))
        numbers = [finished[place].number for place in np.flatnonzero(as_good)]
        found[member.number] = tuple(number for number in numbers if number != member.number)
    return found


def _reach(record: TrialRecord, examples: int | None) -> float:
    """Return half the width of a trial's interval; NaN where it has none."""
    low, high = error_interval(record, examples) or (nan, nan)
    return (high - low) / 2
