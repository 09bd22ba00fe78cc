"""What the trials of a study say of errors after full training, the stopped and the running ones too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..records import State, TrialRecord, error_of

SHIFT = 0.01
"""Added to errors before the logarithm: differences far below a hundredth of the reference are noise."""
FEWEST_CURVES = 4
"""With fewer whole ones, what a curve begins with says little about where it ends."""
UNKNOWN_VARIANCE = 0.25
"""Of the logarithm of an error that is not the end of a curve: a factor of 1.6 in either direction."""
FAILED_ERROR = 1.0
"""Of a trial that failed, in units of the reference: it is as good as guessing."""


def to_scale(errors: np.ndarray) -> np.ndarray:
    """Return logarithms of errors, which are in units of the reference; far beyond it all are alike."""
    return np.log(np.clip(errors, 0.0, 2.0) + SHIFT)


class Observation(NamedTuple):
    """The logarithm of an error after full training (see :func:`to_scale`), and how far it may be off."""

    scaled: float
    variance: float


class Observer:
    """Reads trials; what a curve that ended early would have come to is what others came to from that epoch on."""

    def __init__(self, records: Sequence[TrialRecord], reference: float) -> None:
        """``reference`` is that of the error."""
        self._reference = reference
        finished = [record for record in records if record.state is State.FINISHED]
        errors = [error_of(record) for record in finished]
        self._curves = [record.curve for record in finished]
        self._ends = self._scaled(errors)
        self._by_number = dict(zip((record.number for record in finished), self._ends.tolist(), strict=True))
        self._drops: dict[int, Observation] = {}

    def __call__(self, record: TrialRecord) -> Observation | None:
        """Return what a trial says, None where that is nothing."""
        if record.state is State.FINISHED:
            return Observation(self._by_number[record.number], 0.0)
        if record.state is State.FAILED:
            return Observation(float(to_scale(np.array(FAILED_ERROR))), UNKNOWN_VARIANCE)
        if record.state is State.REJECTED or not record.curve:
            return None
        drop = self._drop(len(record.curve))
        (last,) = self._scaled([record.curve[-1].error])
        return Observation(float(last) + drop.scaled, drop.variance)

    def _drop(self, epoch: int) -> Observation:
        """Return by how much the logarithm of the error changes from an epoch to the end."""
        if epoch not in self._drops:
            long = [place for place, curve in enumerate(self._curves) if len(curve) >= epoch]
            drops = self._ends[long] - self._scaled([self._curves[place][epoch - 1].error for place in long])
            mean = float(drops.mean()) if long else 0.0
            variance = float(drops.var(ddof=1)) if len(long) >= FEWEST_CURVES else UNKNOWN_VARIANCE
            self._drops[epoch] = Observation(mean, variance)
        return self._drops[epoch]

    def _scaled(self, errors: Sequence[float]) -> np.ndarray:
        return to_scale(np.nan_to_num(np.array(errors, dtype=float), nan=np.inf) / self._reference)
