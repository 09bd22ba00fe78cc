"""What the trials of a study say of errors after full training, the stopped and the running ones too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..records import State, TrialRecord
from .surrogate import to_scale

FEWEST_CURVES = 4
"""With fewer whole ones, what a curve begins with says little about where it ends."""
UNKNOWN_VARIANCE = 0.25
"""Of the logarithm of an error that is not the end of a curve: a factor of 1.6 in either direction."""
FAILED_ERROR = 1.0
"""Of a trial that failed, in units of the reference: it is as good as guessing."""


class Observation(NamedTuple):
    """The logarithm of an error after full training (see :func:`.surrogate.to_scale`), and how far it may be off."""

    scaled: float
    variance: float


class Observer:
    """Reads trials; what a curve that ended early would have come to is what others came to from that epoch on."""

    def __init__(self, records: Sequence[TrialRecord], reference: float) -> None:
        """``reference`` is that of the error."""
        self._reference = reference
        self._ends = [(self._scaled(r), self._curve(r)) for r in records if r.state is State.FINISHED]
        self._drops: dict[int, Observation] = {}

    def __call__(self, record: TrialRecord) -> Observation | None:
        """Return what a trial says, None where that is nothing."""
        if record.state is State.FINISHED:
            return Observation(self._scaled(record), 0.0)
        if record.state is State.FAILED:
            return Observation(float(to_scale(np.array(FAILED_ERROR))), UNKNOWN_VARIANCE)
        if record.state is State.REJECTED or not record.curve:
            return None
        drop = self._drop(len(record.curve))
        return Observation(self._curve(record)[-1] + drop.scaled, drop.variance)

    def _drop(self, epoch: int) -> Observation:
        """Return by how much the logarithm of the error changes from an epoch to the end."""
        if epoch not in self._drops:
            drops = [end - curve[epoch - 1] for end, curve in self._ends if len(curve) >= epoch]
            if len(drops) < FEWEST_CURVES:
                mean = float(np.mean(drops)) if drops else 0.0
                self._drops[epoch] = Observation(mean, UNKNOWN_VARIANCE)
            else:
                self._drops[epoch] = Observation(float(np.mean(drops)), float(np.var(drops, ddof=1)))
        return self._drops[epoch]

    def _scaled(self, record: TrialRecord) -> float:
        assert record.measurement is not None
        return float(to_scale(np.array(record.measurement.figures["error"] / self._reference)))

    def _curve(self, record: TrialRecord) -> np.ndarray:
        errors = np.array([point.error for point in record.curve], dtype=float)
        return to_scale(np.nan_to_num(errors, nan=np.inf) / self._reference)
