"""What training a candidate is expected to add to the hypervolume, in the light of all trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from ...spaces.space import Candidate
from ..front import pareto_ranks
from ..objectives import Objective
from ..records import State
from ..results import Results
from .features import decades
from .gain import LogNormal, expected_gains, undominated_boxes
from .observations import Observer
from .surrogate import Surrogate

SEEN = 400
"""The most trials that the surrogate learns from: one half the best, the other the latest."""
FITTED = 128
"""Likewise for its length scales."""
TELLING = ("macs", "parameters", "peak_memory_bytes", "latency_us")
"""The figures that errors may hang on; by the last two and the error trials are ranked."""


class Known(NamedTuple):
    """A candidate, what it costs, and its parameters as numbers."""

    candidate: Candidate
    figures: Mapping[str, float]
    row: np.ndarray


class Trials(NamedTuple):
    """What is known of errors after full training, in order of the trials' numbers."""

    features: np.ndarray
    """Shape (n, d)."""
    scaled: np.ndarray
    """Errors as :func:`.observations.to_scale` has them."""
    variances: np.ndarray
    """How far off each may be, beyond the noise of all."""
    running: tuple[Known, ...]
    """Those that run, whatever they said so far."""
    silent: tuple[Known, ...]
    """Those that run and said nothing yet."""

    def whole(self, count: int | None = None) -> Trials:
        """Return the first ``count`` of those that were trained in full, all of them by default."""
        places = np.flatnonzero(self.variances == 0)[:count]
        return self._replace(
            features=self.features[places], scaled=self.scaled[places], variances=self.variances[places]
        )


class Outlook:
    """Expected gains, given the trials of a moment."""

    def __init__(
        self, kernel: Any, trials: Trials, results: Results, objectives: Sequence[Objective], reference: np.ndarray
    ) -> None:
        """``kernel`` is that of :func:`.surrogate.fitted_kernel`.

        For objectives that nothing stands in for before training, such as the users' error, the error speaks alone.
        """
        kept = [0, *(place for place, objective in enumerate(objectives) if objective.known_key is not None)]
        self._costs_known = [objectives[place] for place in kept[1:]]
        self._reference = reference[kept]
        self._ratios = [_ratio(objective, results) for objective in self._costs_known]
        places = chosen_trials(trials, SEEN)
        surrogate = Surrogate(kernel, trials.features[places], trials.scaled[places], trials.variances[places])
        if trials.silent:
            surrogate = surrogate.believing(features_of(trials.silent))
        self._surrogate = surrogate
        front = results.values(results.front)[:, kept] / self._reference
        if trials.running:
            # What runs will turn out as expected: nothing like it need be started.
            errors = surrogate.guess(features_of(trials.running)).median
            front = np.concatenate([front, np.column_stack([errors, self._costs(trials.running)])])
        self._boxes = undominated_boxes(front)

    @staticmethod
    def observed(trials: Sequence[Known], results: Results, reference: float) -> Trials:
        """Return what the trials of ``results`` say; ``reference`` is that of the error."""
        observer = Observer(results.records, reference)
        rows: list[tuple[Known, float, float]] = []
        running: list[Known] = []
        silent: list[Known] = []
        for known, record in zip(trials, results.records, strict=True):
            observation = observer(record)
            if record.state is State.RUNNING:
                running.append(known)
            if observation is not None:
                rows.append((known, observation.scaled, observation.variance))
            elif record.state is State.RUNNING:
                silent.append(known)
        scaled, variances = (np.array([row[column] for row in rows], dtype=float) for column in (1, 2))
        features = features_of([row[0] for row in rows]) if rows else np.zeros((0, 0))
        return Trials(features, scaled, variances, tuple(running), tuple(silent))

    def gains(self, candidates: Sequence[Known]) -> np.ndarray:
        """Return the expected gain of each, shape (n,), in shares of the box below the reference."""
        if not candidates:
            return np.zeros(0)
        return expected_gains(self._boxes, self._costs(candidates), self.guess(candidates))

    def guess(self, candidates: Sequence[Known]) -> LogNormal:
        """Return what their errors would be, in units of the reference."""
        return self._surrogate.guess(features_of(candidates))

    def _costs(self, candidates: Sequence[Known]) -> np.ndarray:
        """Return the objectives that are known before training in units of the reference, shape (n, m - 1)."""
        keys = [objective.known_key for objective in self._costs_known]
        figures = [[known.figures[str(key)] for key in keys] for known in candidates]
        return np.array(figures, dtype=float) * self._ratios / self._reference[1:]


def features_of(candidates: Sequence[Known]) -> np.ndarray:
    """Return what errors are guessed from, shape (n, d): parameters, and decades of costs."""
    rows = np.array([known.row for known in candidates])
    figures = [[known.figures.get(name, 1.0) for name in TELLING] for known in candidates]
    return np.hstack([rows, decades(np.array(figures).reshape(len(candidates), len(TELLING)))])


def _ratio(objective: Objective, results: Results) -> float:
    """Return what an objective is in units of its stand-in before training, in the middle of the finished trials."""
    if not objective.needs_training:
        return 1.0
    known = [record.measurement.figures for record in results.finished if record.measurement is not None]
    return median(figures[objective.key] / figures[str(objective.stand_in)] for figures in known) if known else 1.0


def chosen_trials(trials: Trials, count: int) -> np.ndarray:
    """Return the places of ``count`` trials at most: one half the best by error and costs, one half the latest."""
    if len(trials.scaled) <= count:
        return np.arange(len(trials.scaled))
    costs = trials.features[:, -2:]
    ranks = pareto_ranks(np.column_stack([trials.scaled, costs]))
    best = np.lexsort((-np.arange(len(ranks)), ranks))[: count // 2]
    latest = np.arange(len(ranks) - count // 2, len(ranks))
    return np.union1d(best, latest)
