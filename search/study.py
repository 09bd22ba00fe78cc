"""The driver's mind: what to try, what to reject, what to stop, what to keep. It knows the ledger and no Ray.

Backends ask :meth:`Study.next_trial`, report epochs and ends, and obey. All writes to the ledger happen here.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from ..spaces.errors import UserError
from ..spaces.space import Candidate, SearchSpace
from .chance import chance_of_front
from .devices.profile import Profile
from .ledger import Ledger
from .objectives import Budget, Objective, budget_excesses, known_budgets, with_stand_ins
from .records import EpochPoint, Loss, Measurement, State, TrialRecord, profile_figures
from .results import Results
from .rungs import ParetoRungs
from .sampling import Proposal

SCOUTS = 64
LEAST_CHANCE = 0.1
"""Of reaching the front, with which a trial goes on whatever its rank at a rung."""
REJECTION_LIMIT = 1000
UNBUILDABLE_LIMIT = 20
CHARGED_LOSSES = 3
"""A candidate that has killed so many workers has failed."""
LOSSES = 20
"""And so has one that was there whenever so many nodes went: it may be what kills them."""


Appraiser = Callable[[Candidate], Profile]
"""Returns the profile of a candidate's fused graph, which needs no training."""


class Proposer(Protocol):
    """Who decides what to try next."""

    @property
    def state(self) -> Mapping[str, Any]:
        """What it keeps with the study."""

    def restore(self, trials: Sequence[FrozenTrial], state: Mapping[str, Any]) -> None:
        """Learn the ledger's trials, in order of their numbers, and the :attr:`state` that was kept with them."""

    def propose(self, results: Results) -> Proposal | None:
        """Return the next candidate, of the number that comes next; None where there is none left."""

    def settle(
        self, number: int, state: TrialState, values: Sequence[float] | None, constraints: Mapping[str, float]
    ) -> None:
        """Learn how the trial of that number ended."""


class Observer(Protocol):
    """Somebody who watches: the progress line, the MLflow view. Called from the driver's loop, so must be quick."""

    def trial_changed(self, record: TrialRecord, results: Results) -> None:
        """A trial began, had an epoch or ended."""


class Study:
    """One search in progress."""

    def __init__(
        self,
        ledger: Ledger,
        appraise: Appraiser,
        proposer: Proposer,
        *,
        objectives: Sequence[Objective],
        budgets: Sequence[Budget],
        reference: Sequence[float],
        trials: int,
        epochs: int,
        rungs: ParetoRungs | None,
        deadline: float = math.inf,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        """``deadline`` is on the clock of ``time.monotonic``; ``trials`` counts trained candidates in all.

        ``stop_requested`` says whether somebody wants the search to end when the running epochs have.
        """
        self._ledger, self._appraise, self._proposer = ledger, appraise, proposer
        self._objectives, self._budgets, self._reference = tuple(objectives), tuple(budgets), tuple(reference)
        self._trials, self._epochs, self._rungs = trials, epochs, rungs
        self._deadline = deadline
        self._stop_requested, self._stopped = stop_requested, False
        self.exhausted = False
        """Whether the sampler has no candidate left that was not tried."""
        self._observers: tuple[Observer, ...] = ()
        self.results = self._restore()
        """What is known of all trials; kept up to date."""

    def _restore(self) -> Results:
        trials = self._ledger.frozen_trials()
        records = self._ledger.records(trials)
        self._proposer.restore(trials, self._ledger.sampler_state())
        for record in records:
            for epoch, point in enumerate(record.curve, 1):
                self._record_rung(record, epoch, point.error)
        self._interrupted = deque(record.number for record in records if record.state is State.RUNNING)
        return Results(self._objectives, self._reference, records)

    def watched_by(self, *observers: Observer) -> None:
        """Tell these of every change from now on."""
        self._observers = observers

    @property
    def out_of_time(self) -> bool:
        return time.monotonic() >= self._deadline

    @property
    def stopping(self) -> bool:
        """Whether running trials are to end with their epoch, and none is to start: all go on another time."""
        return self.out_of_time or self._stopped or self._stop_requested()

    def request_stop(self) -> None:
        """End when the running epochs have."""
        self._stopped = True

    @property
    def unfinished(self) -> bool:
        """Whether trials are left running, or to start."""
        return self.results.counts[State.RUNNING] > 0 or (self.results.trained < self._trials and not self.exhausted)

    def next_trial(self) -> TrialRecord | None:
        """Return the next trial to train, an interrupted one first, or None when there is nothing to start now."""
        if self.stopping:
            return None
        while self._interrupted:
            record = self.results.record(self._interrupted.popleft())
            epoch = len(record.curve)
            if epoch > 0 and not self._goes_on(record, epoch):
                # It was interrupted between an epoch and the decision that the epoch called for.
                self._stop(record, epoch)
                continue
            self._notify(record)
            return record
        if self.exhausted or self.results.trained + self.results.counts[State.RUNNING] >= self._trials:
            return None
        return self._start_feasible()

    def _start_feasible(self) -> TrialRecord | None:
        closest = _ClosestMiss(self._budgets)
        unbuildable = _Unbuildable()
        for _ in range(REJECTION_LIMIT):
            if self.stopping:
                return None
            proposal = self._proposer.propose(self.results)
            if proposal is None:
                self.exhausted = True
                return None
            candidate, distributions, attributes = proposal
            try:
                profile = asdict(self._appraise(candidate))
            except Exception as error:
                # A space is its author's code: one candidate that it cannot build does not end the search.
                unbuildable.see(error)
                number = self._ledger.reject(candidate, distributions, {}, str(error), {"buildable": 1.0}, attributes)
                self._proposer.settle(number, TrialState.PRUNED, None, {"buildable": 1.0})
                self._read_again(number)
                continue
            unbuildable = _Unbuildable()
            figures = profile_figures(profile)
            excesses = budget_excesses(self._budgets, figures)
            if not any(excess > 0 for excess in excesses.values()):
                number = self._ledger.start(candidate, distributions, profile, attributes)
                self._ledger.keep_sampler_state(self._proposer.state)
                return self._read_again(number)
            reason = self._broken(figures)
            number = self._ledger.reject(candidate, distributions, profile, reason, excesses, attributes)
            self._proposer.settle(number, TrialState.PRUNED, None, excesses)
            self._read_again(number)
            closest.see(figures)
        raise UserError(closest.complaint(REJECTION_LIMIT))

    def report_epoch(self, number: int, epoch: int, point: EpochPoint) -> bool:
        """Record an epoch of a running trial and return whether it goes on."""
        record = self.results.record(number)
        assert epoch <= len(record.curve) + 1, (number, epoch, len(record.curve))
        record = replace(record, curve=(*record.curve[: epoch - 1], point))
        self._ledger.record_curve(number, record.curve)
        self._change(record)
        if self.stopping:
            return False
        self._record_rung(record, epoch, point.error)
        if self._goes_on(record, epoch):
            return True
        self._stop(record, epoch)
        return False

    def _goes_on(self, record: TrialRecord, epoch: int) -> bool:
        if self._rungs is None or self._rungs.goes_on(record.number, epoch):
            return True
        return chance_of_front(record, self.results, self._objectives, self._reference) >= LEAST_CHANCE

    def _record_rung(self, record: TrialRecord, epoch: int, error: float) -> None:
        if self._rungs is not None:
            known = profile_figures(record.profile)
            self._rungs.record(
                record.number, epoch, [error if o.known_key is None else known[o.known_key] for o in self._objectives]
            )

    def _stop(self, record: TrialRecord, epoch: int) -> None:
        reason = f"dominated at the rung of epoch {epoch}"
        # Infeasible by the share of training that it lacks: no sampler may take it for a member of the front.
        constraints = {"fidelity": 1 - epoch / self._epochs}
        self._ledger.stop(record.number, reason, constraints)
        self._proposer.settle(record.number, TrialState.PRUNED, None, constraints)
        self._read_again(record.number)

    def finish(self, number: int, measurement: Measurement) -> None:
        """Record the end of a trial that was trained in full; its figures are completed by the profile's."""
        record = self.results.record(number)
        measurement = self._completed(measurement, record.profile)
        figures = measurement.figures
        values = [figures[objective.key] for objective in self._objectives]
        if not all(math.isfinite(value) for value in values):
            self.fail(number, f"an objective is not finite: {dict(zip(self._objective_names, values, strict=True))}")
            return
        constraints = budget_excesses(self._budgets, figures)
        self._ledger.finish(number, measurement, values, constraints, self._broken(figures))
        self._proposer.settle(number, TrialState.COMPLETE, values, constraints)
        self._read_again(number)

    def record_repeats(self, number: int, errors: Sequence[float]) -> None:
        """Record what errors a finished trial's candidate has on other seeds."""
        self._ledger.record_repeats(number, errors)
        self._change(replace(self.results.record(number), repeats=tuple(errors)))

    def _completed(self, measurement: Measurement, profile: Mapping[str, Any]) -> Measurement:
        """Return a measurement with all figures that its profile gives. Of several networks those that break a budget
        are left out, but for the widest: on that hangs whether the trial is feasible."""
        figures = {**profile_figures(measurement.profile or profile), **measurement.figures}
        figures = with_stand_ins(figures, (*self._objectives, *(budget.objective for budget in self._budgets)))
        networks = [self._completed(network, profile) for network in measurement.networks]
        stay = [own for own in networks if own is networks[0] or not self._broken(own.figures)]
        return replace(measurement, figures=figures, networks=tuple(stay))

    def _broken(self, figures: Mapping[str, float]) -> str:
        """Return which budgets the figures break, for a person; nothing where none."""
        broken = [budget for budget in known_budgets(self._budgets, figures) if budget.excess(figures) > 0]
        return "; ".join(budget.explain(figures) for budget in broken)

    def fail(self, number: int, reason: str) -> None:
        """Record that a trial failed; the search goes on."""
        self._ledger.fail(number, reason)
        self._proposer.settle(number, TrialState.FAIL, None, {})
        self._read_again(number)

    def lose_worker(self, number: int, loss: Loss) -> None:
        """Record that a trial's worker is gone: the trial is given out again, unless it costs too many workers."""
        losses = (*self.results.record(number).losses, loss)
        self._ledger.record_losses(number, losses)
        self._change(replace(self.results.record(number), losses=losses))
        charged = sum(loss.is_charged for loss in losses)
        if charged >= CHARGED_LOSSES:
            self.fail(number, f"its worker died {charged} times; the last time: {loss.cause}")
        elif len(losses) >= LOSSES:
            self.fail(number, f"its worker or its node was lost {len(losses)} times; the last time: {loss.cause}")
        else:
            self._interrupted.append(number)

    def state_of(self, number: int) -> State:
        return self.results.record(number).state

    def epochs_of(self, number: int) -> int:
        """Return how many epochs of a trial are recorded."""
        return len(self.results.record(number).curve)

    @property
    def _objective_names(self) -> list[str]:
        return [objective.name for objective in self._objectives]

    def _read_again(self, number: int) -> TrialRecord:
        """Take over what the ledger now says of a trial, its times included."""
        return self._change(self._ledger.record(number))

    def _change(self, record: TrialRecord) -> TrialRecord:
        self.results.update(record)
        self._notify(record)
        return record

    def _notify(self, record: TrialRecord) -> None:
        for observer in self._observers:
            observer.trial_changed(record, self.results)


def scout_reference(
    space: SearchSpace,
    appraise: Appraiser,
    objectives: Sequence[Objective],
    budgets: Sequence[Budget],
    *,
    classes: int,
    rng: random.Random,
) -> list[float]:
    """Return the hypervolume's reference point, and refuse budgets that nothing meets.

    A budget is its objective's reference. Without one, the error's is that of guessing and any other's is the worst of
    the random candidates that were looked at.
    Raises :class:`UserError` with the bound and the closest miss when none of 1,000 random candidates fits.
    """
    closest = _ClosestMiss(budgets)
    unbuildable = _Unbuildable()
    seen: list[dict[str, float]] = []
    while len(seen) < SCOUTS or not closest.fits:
        if len(seen) == REJECTION_LIMIT:
            raise UserError(closest.complaint(len(seen)))
        try:
            figures = profile_figures(asdict(appraise(space.draw(rng))))
        except Exception as error:
            unbuildable.see(error)
            continue
        unbuildable = _Unbuildable()
        seen.append(figures)
        closest.see(figures)
    bounds = {budget.objective.name: budget.bound for budget in budgets}
    worst = {o.name: max(figures[o.known_key] for figures in seen) for o in objectives if o.known_key}
    return [bounds.get(o.name, worst.get(o.name, 1 - 1 / classes)) for o in objectives]


class _Unbuildable:
    """Counts candidates in a row that could not be built or read."""

    def __init__(self) -> None:
        self._count = 0

    def see(self, error: Exception) -> None:
        """Count one more; raises :class:`UserError` when there are too many to be an accident."""
        self._count += 1
        if self._count == UNBUILDABLE_LIMIT:
            raise UserError(
                f"space: {self._count} candidates in a row cannot be built; the last one: "
                f"{type(error).__name__}: {error}"
            ) from error


class _ClosestMiss:
    """Remembers which candidate came closest to its budgets."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._least_excess = math.inf
        self._explanation = ""

    @property
    def fits(self) -> bool:
        return self._least_excess <= 0 or not self._budgets

    def see(self, figures: Mapping[str, float]) -> None:
        known = known_budgets(self._budgets, figures)
        worst = max(known, key=lambda budget: budget.excess(figures), default=None)
        excess = -1.0 if worst is None else worst.excess(figures)
        if excess < self._least_excess:
            self._least_excess = excess
            self._explanation = "" if worst is None else worst.explain(figures)

    def complaint(self, count: int) -> str:
        return (
            f"budgets: none of {count} candidates fits; the closest one has {self._explanation}; "
            "raise that budget or let the space have smaller candidates"
        )
