"""What a study has found: its finished candidates, their front and its hypervolume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from .front import hypervolume, on_front
from .objectives import Objective
from .records import State, TrialRecord


class Results:
    """A reading of trial records. Only feasible candidates of full fidelity are in ``finished`` and on the front."""

    def __init__(
        self, objectives: Sequence[Objective], reference: Sequence[float], records: Iterable[TrialRecord]
    ) -> None:
        self.objectives = tuple(objectives)
        self.reference = np.asarray(reference, dtype=float)
        self.records = tuple(records)
        self.finished = tuple(r for r in self.records if r.state is State.FINISHED and r.feasible)

    @property
    def counts(self) -> Counter[State]:
        """How many trials are in each state."""
        return Counter(record.state for record in self.records)

    def values(self, records: Sequence[TrialRecord]) -> np.ndarray:
        """Return the objectives of finished records, shape (n, m)."""
        rows = [objective_values(self.objectives, record) for record in records]
        return np.array(rows, dtype=float).reshape(len(records), len(self.objectives))

    @property
    def front(self) -> tuple[TrialRecord, ...]:
        """The non-dominated finished records, by their first objective."""
        values = self.values(self.finished)
        members = [record for record, is_member in zip(self.finished, on_front(values), strict=True) if is_member]
        return tuple(sorted(members, key=lambda record: objective_values(self.objectives, record)))

    @property
    def hypervolume(self) -> float:
        """Share of the box between zero and the reference that the front dominates, in [0, 1]."""
        return hypervolume(self.values(self.finished), self.reference)

    def hypervolume_by_trial(self) -> list[tuple[int, float, float]]:
        """Return (trained trials so far, hypervolume, Unix time) at the end of each trained trial, in order."""
        trained = sorted((r for r in self.records if r.state.was_trained), key=lambda record: record.ended or 0.0)
        steps: list[tuple[int, float, float]] = []
        known: list[TrialRecord] = []
        for count, record in enumerate(trained, 1):
            if record.state is State.FINISHED and record.feasible:
                known.append(record)
            steps.append((count, hypervolume(self.values(known), self.reference), record.ended or 0.0))
        return steps


def objective_values(objectives: Sequence[Objective], record: TrialRecord) -> tuple[float, ...]:
    """Return the objectives of one finished record, in order."""
    assert record.measurement is not None, record.number
    return tuple(record.measurement.figures[objective.key] for objective in objectives)
