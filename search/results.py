"""What a study has found: its finished candidates, their front and its hypervolume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from .front import GrowingFront
from .objectives import Objective
from .records import State, TrialRecord, at_points, error_of


class Results:
    """A reading of trial records, kept up to date record by record: a change costs O(front), not O(trials).

    Only feasible candidates of full fidelity are in ``finished`` and on the front. One thread owns it; another one
    takes a :meth:`copy`.
    """

    def __init__(
        self, objectives: Sequence[Objective], reference: Sequence[float], records: Iterable[TrialRecord]
    ) -> None:
        self.objectives = tuple(objectives)
        self.reference = np.asarray(reference, dtype=float)
        # With all their keys, for the live line is drawn by a thread of its own.
        self.counts = Counter(dict.fromkeys(State, 0))
        """How many trials are in each state."""
        self.epochs = Counter(dict.fromkeys(State, 0))
        """How many epochs the trials in each state have had."""
        self._records = {record.number: record for record in records}
        for record in self._records.values():
            self._count(record, 1)
        self._history = self._replayed()

    def _count(self, record: TrialRecord, sign: int) -> None:
        self.counts[record.state] += sign
        self.epochs[record.state] += sign * len(record.curve)

    def _replayed(self) -> _History:
        history = _History(self.objectives, self.reference)
        trained = (record for record in self._records.values() if record.state.was_trained)
        for record in sorted(trained, key=_end_key):
            history.append(record)
        return history

    def copy(self) -> Results:
        """Return the same for another owner; this one costs O(trials)."""
        return Results(self.objectives, self.reference.tolist(), self._records.values())

    def update(self, record: TrialRecord) -> None:
        """Take over one trial as it now stands."""
        before = self._records.get(record.number)
        if record == before:
            return
        self._records[record.number] = record
        if before is not None:
            self._count(before, -1)
        self._count(record, 1)
        was_known = before is not None and before.state.was_trained
        if was_known or (record.state.was_trained and not self._history.append(record)):
            # In no search, but for a clock that was set back and for figures that are measured at the very end.
            self._history = self._replayed()

    def record(self, number: int) -> TrialRecord:
        return self._records[number]

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All trials, in the order in which they became known."""
        return tuple(self._records.values())

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        return tuple(record for record in self._records.values() if _is_candidate_for_front(record))

    @property
    def trained(self) -> int:
        """How many trials were trained, whatever came of it."""
        return sum(count for state, count in self.counts.items() if state.was_trained)

    def values(self, records: Sequence[TrialRecord]) -> np.ndarray:
        """Return the objectives of finished records, shape (n, m)."""
        rows = [objective_values(self.objectives, record) for record in records]
        return np.array(rows, dtype=float).reshape(len(records), len(self.objectives))

    @property
    def front(self) -> tuple[TrialRecord, ...]:
        """The non-dominated finished records, by their first objective.

        A trial is there once for each of its operating points that no other one dominates.
        """
        members = [at_points(self._records[number])[point] for number, point in self._history.members]
        return tuple(sorted(members, key=lambda record: objective_values(self.objectives, record)))

    @property
    def hypervolume(self) -> float:
        """Share of the box between zero and the reference that the front dominates, in [0, 1]."""
        return self._history.front.hypervolume

    def hypervolume_by_trial(self, after: int = 0) -> list[tuple[int, float, float]]:
        """Return (trained trials so far, hypervolume, Unix time) at the end of each trained trial, in order.

        Those of the first ``after`` trials are left out.
        """
        return self._history.steps[after:]

    def epochs_by_trial(self, after: int = 0) -> list[int]:
        """Return the epochs trained so far at each of :meth:`hypervolume_by_trial`'s ends: what the search has cost."""
        return self._history.epochs[after:]


class _History:
    """The trained trials in the order of their ends."""

    def __init__(self, objectives: Sequence[Objective], reference: np.ndarray) -> None:
        self.front = GrowingFront(reference)
        self.steps: list[tuple[int, float, float]] = []
        self.epochs: list[int] = []
        self._rows: list[tuple[int, int]] = []
        self._objectives = objectives
        self._last = (-np.inf, -1)

    @property
    def members(self) -> list[tuple[int, int]]:
        """Of each row of the front its trial and its place among the trial's operating points, in order."""
        return sorted(self._rows[key] for key in self.front.members)

    def append(self, record: TrialRecord) -> bool:
        """Add a trial that ended, and return False where one that is known ended later."""
        if _end_key(record) < self._last:
            return False
        self._last = _end_key(record)
        if _is_candidate_for_front(record):
            for place, point in enumerate(at_points(record)):
                self.front.add(len(self._rows), objective_values(self._objectives, point))
                self._rows.append((record.number, place))
        self.steps.append((len(self.steps) + 1, self.front.hypervolume, record.ended or 0.0))
        self.epochs.append((self.epochs[-1] if self.epochs else 0) + len(record.curve))
        return True


def _end_key(record: TrialRecord) -> tuple[float, int]:
    return record.ended or 0.0, record.number


def _is_candidate_for_front(record: TrialRecord) -> bool:
    return record.state is State.FINISHED and record.feasible


def objective_values(objectives: Sequence[Objective], record: TrialRecord) -> tuple[float, ...]:
    """Return the objectives of one finished record, in order."""
    return tuple(objective_value(objective, record) for objective in objectives)


def objective_value(objective: Objective, record: TrialRecord) -> float:
    """Return one objective of a finished record."""
    assert record.measurement is not None, record.number
    return error_of(record) if objective.name == "error" else record.measurement.figures[objective.key]
