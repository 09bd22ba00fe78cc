"""A study on an imagined clock: the real study, ledger, sampler and rungs, without Ray.

Where training is looked up a thousand trials take seconds, so that searches can be compared over many seeds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from repareto.search.devices.profile import Profile
from repareto.search.ledger import Ledger
from repareto.search.objectives import Budget, Objective
from repareto.search.records import EpochPoint, Measurement, TrialRecord
from repareto.search.results import Results
from repareto.search.rungs import ParetoRungs
from repareto.search.study import Proposer, Study
from repareto.spaces.space import Candidate, SearchSpace

from .table import Row


class Problem(Protocol):
    """What is searched: a space, and what training each of its candidates would give."""

    name: str
    space: SearchSpace
    objectives: Sequence[Objective]
    """The error first."""
    budgets: Sequence[Budget]
    reference: Sequence[float]
    epochs: int

    def profile(self, candidate: Candidate) -> Profile:
        """Return what a candidate costs, without training."""

    def row(self, candidate: Candidate) -> Row:
        """Return what training a candidate gives; the same whenever it is asked."""


class Moment(NamedTuple):
    """Where a search stands."""

    epochs: int
    """Trained so far, by all candidates."""
    seconds: float
    """On the imagined clock."""
    hypervolume: float


@dataclass
class SimulatedStudy:
    """One search of a problem."""

    problem: Problem
    study: Study
    workers: int = 1
    train: Callable[[TrialRecord, Results], Row] | None = None
    """What training a trial gives, where that hangs on the other trials; asked once a trial."""
    _trained: dict[int, Row] = field(default_factory=dict)

    def run(self, epochs: int) -> list[Moment]:
        """Search until so many epochs are trained or nothing is left to try, and return the moments of improvement."""
        moments = [Moment(0, 0.0, 0.0)]
        events: list[tuple[float, int, TrialRecord]] = []
        order = itertools.count()
        trained, now, idle = 0, 0.0, self.workers

        def begin_epoch(record: TrialRecord) -> None:
            row = self._row(record)
            heapq.heappush(events, (now + row.train_seconds / self.problem.epochs, next(order), record))

        while trained < epochs:
            while idle and (record := self.study.next_trial()) is not None:
                idle -= 1
                begin_epoch(record)
            if not events:
                break
            now, _, record = heapq.heappop(events)
            trained += 1
            if self._end_epoch(record.number):
                begin_epoch(record)
                continue
            idle += 1
            if self.study.results.hypervolume > moments[-1].hypervolume:
                moments.append(Moment(trained, now, self.study.results.hypervolume))
        return moments

    def _row(self, record: TrialRecord) -> Row:
        if self.train is None:
            return self.problem.row(record.candidate)
        if record.number not in self._trained:
            self._trained[record.number] = self.train(record, self.study.results)
        return self._trained[record.number]

    def _end_epoch(self, number: int) -> bool:
        """Report an epoch, at the last one the measurement, and return whether the trial goes on."""
        record = self.study.results.record(number)
        row, epoch = self._row(record), len(record.curve) + 1
        point = EpochPoint(row.errors[epoch - 1], 0.0, row.train_seconds / len(row.errors))
        if not self.study.report_epoch(number, epoch, point):
            return False
        if epoch < len(row.errors):
            return True
        self.study.finish(number, measurement_of(row))
        return False


def measurement_of(row: Row) -> Measurement:
    """Return what a worker would report of a candidate that was trained in full."""
    return Measurement(
        figures={"error": row.errors[-1], "test_error": row.test_error},
        fusion={"largest_relative_difference": 0.0},
        seed=0,
        epochs=len(row.errors),
        train_seconds=row.train_seconds,
        branched_parameters=0,
    )


def make_study(
    problem: Problem,
    proposer: Proposer,
    *,
    rungs: ParetoRungs | None = None,
    trials: int = 1_000_000,
) -> Study:
    """Return a study of a problem, its ledger in memory."""
    header = {"reference": list(problem.reference), "config": {}, "identity": {}, "import_folders": []}
    return Study(
        Ledger.in_memory(problem.name, header),
        problem.profile,
        proposer,
        objectives=problem.objectives,
        budgets=problem.budgets,
        reference=problem.reference,
        trials=trials,
        epochs=problem.epochs,
        rungs=rungs,
    )
