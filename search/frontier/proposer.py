"""Cheap objectives first: many candidates are looked at, the one with the greatest expected gain is trained.

As LEMONADE (Elsken et al. 2019, arXiv 1804.09081) it spends nothing on what is known without training. Of some
hundred candidates costs and error are guessed; the most promising are built and their costs read; of those that keep
the budgets the one is proposed whose training is expected to add most to the hypervolume. What is proposed follows from
the seed, the number of the trial and what is known of the others, so a driver that goes on proposes the same.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...spaces.errors import first_line
from ...spaces.space import Candidate, SearchSpace
from ..devices.profile import Profile
from ..objectives import Budget, Objective, budget_excesses
from ..records import State, TrialRecord, profile_figures
from ..results import Results
from ..sampling import Proposal, candidate_seed, distribution
from .costs import CostGuess
from .features import Encoder
from .outlook import FITTED, Known, Outlook, chosen_trials, features_of
from .pool import children, random_candidates
from .surrogate import fitted_kernel

logger = logging.getLogger("repareto")

STARTUP_TRIALS = 5
"""That stand for as much of the space as possible, before gains decide."""
SCOUTS = 64
"""Random candidates that are built once, at the beginning: they show what costs depend on."""
DRAWN, BRED = 128, 192
"""Candidates a proposal whose costs are guessed: random ones, and children of the front."""
ROUNDS, BUILT = 4, 4
"""How many of those are built in each round; all but the first look around the best so far."""
PARENTS = 4
"""Of the best built so far, around which the next round looks."""
FEWEST_FITTED = 3
"""Trials trained in full, before which nothing is guessed."""
GROWTH = 1.25
"""Length scales are fitted anew when there are so many times more trials."""


class FrontierProposer:
    """Proposes what is expected to move the front."""

    state: Mapping[str, Any] = {}
    """Nothing is kept with the study: all follows from its trials."""

    def __init__(
        self,
        space: SearchSpace,
        appraise: Callable[[Candidate], Profile],
        *,
        objectives: Sequence[Objective],
        budgets: Sequence[Budget],
        reference: Sequence[float],
        startup_trials: int,
        seed: int,
    ) -> None:
        """The error is the first of the objectives."""
        self._space, self._appraise = space, appraise
        self._objectives, self._budgets = tuple(objectives), tuple(budgets)
        self._reference = np.asarray(reference, dtype=float)
        self._startup_trials, self._seed = startup_trials, seed
        self._encode = Encoder(space)
        self._scouts: list[Known] | None = None
        self._trials: list[Known] = []
        self._tried: set[Candidate] = set()
        self._costs: CostGuess | None = None
        self._told_of_unbuildable = False
        self._kernel: Any = None
        self._kernel_trials = 0

    def restore(self, *_: object) -> None:
        """Do nothing: the results say all."""

    def settle(self, *_: object) -> None:
        """Do nothing: the results say all."""

    def propose(self, results: Results) -> Proposal | None:
        """Return the next candidate, one that was never tried; None where there is none left."""
        records = results.records
        self._learn(records)
        rng = random.Random(candidate_seed(self._seed, len(records)))
        candidate = self._choose(results, rng)
        if candidate is None:
            return None
        dimensions = {parameter.name: parameter.dimension for parameter in self._space.parameters()}
        return Proposal(candidate, {name: distribution(dimensions[name]) for name in candidate}, {})

    def _choose(self, results: Results, rng: random.Random) -> Candidate | None:
        scouts = [scout for scout in self._all_scouts() if scout.candidate not in self._tried]
        begun = results.trained + results.counts[State.RUNNING]
        outlook = self.outlook(results) if begun >= self._startup_trials else None
        if outlook is None:
            known = [scout for scout in scouts if self._excess(scout.figures) <= 0]
            if known:
                return known[self._most_telling(known)].candidate
            # None fits, or there are fewer than the startup needs: any candidate tells something.
            return next(iter(self._fresh([], DRAWN, 0, rng)), None)
        known = scouts + self._promising(outlook, results, rng)
        return known[self._best(outlook, known, 1)[0]].candidate if known else None

    def _learn(self, records: Sequence[TrialRecord]) -> None:
        new = records[len(self._trials) :]
        for record, row in zip(new, self._encode([record.candidate for record in new]), strict=True):
            self._trials.append(Known(record.candidate, profile_figures(record.profile), row))
            self._tried.add(record.candidate)

    def _all_scouts(self) -> list[Known]:
        if self._scouts is None:
            self._scouts = self._built(random_candidates(self._space, SCOUTS, random.Random(self._seed)))
        return self._scouts

    def _built(self, candidates: Sequence[Candidate]) -> list[Known]:
        """Return those that can be built, with their costs."""
        known = []
        for candidate, row in zip(candidates, self._encode(candidates), strict=True):
            try:
                known.append(Known(candidate, profile_figures(asdict(self._appraise(candidate))), row))
            except Exception as error:
                # A space is its author's code; where nothing can be built, the study says so.
                self._tell_of_unbuildable(candidate, error)
        return known

    def _tell_of_unbuildable(self, candidate: Candidate, error: Exception) -> None:
        """Say once that candidates are passed over: a space that raises may have a mistake in it."""
        if not self._told_of_unbuildable:
            self._told_of_unbuildable = True
            logger.warning(
                "space %s: candidates that cannot be built are passed over; the first: %s: %s (%s)",
                self._space.name, type(error).__name__, first_line(error), candidate.to_json(),
            )  # fmt: skip

    def _excess(self, figures: Mapping[str, float]) -> float:
        """Return by how much the most exceeded budget is, as a share; the budgets are kept where it is <= 0."""
        return max(budget_excesses(self._budgets, figures).values(), default=0.0)

    def _most_telling(self, known: Sequence[Known]) -> int:
        """Return the place of the one that brings all of them nearest to what was tried.

        Their middle is the first. Those that differ most from what was tried would all lie in corners of the space.
        """
        features = features_of([*known, *(trial for trial in self._trials if trial.figures)])
        features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
        distances = np.linalg.norm(features[: len(known), None] - features[None], axis=2)
        among, tried = distances[:, : len(known)], distances[:, len(known) :]
        left = np.minimum(among, tried.min(axis=1, initial=among.max())[:, None])
        return int(np.argmin(left.sum(axis=0)))

    def _fresh(self, parents: Sequence[Candidate], drawn: int, bred: int, rng: random.Random) -> list[Candidate]:
        """Return candidates that were never tried, without building them."""
        found = random_candidates(self._space, drawn, rng) + children(self._space, parents, bred, rng)
        return [candidate for candidate in dict.fromkeys(found) if candidate not in self._tried]

    def _promising(self, outlook: Outlook, results: Results, rng: random.Random) -> list[Known]:
        """Return built candidates that are better than most of hundreds of others, as far as one can tell unbuilt."""
        scouts = self._all_scouts()
        if not scouts:
            return []
        if self._costs is None:
            self._costs = CostGuess(*_rows_and_figures(scouts))
        informed = [*scouts, *[trial for trial in self._trials if trial.figures][-FITTED:]]
        built: list[Known] = []
        fresh = self._fresh([record.candidate for record in results.front], DRAWN, BRED, rng)
        for _ in range(ROUNDS):
            self._costs.know(*_rows_and_figures(informed + built))
            known = {one.candidate for one in built}
            built += self._most_promising(outlook, [candidate for candidate in fresh if candidate not in known])
            around = [built[place].candidate for place in self._best(outlook, built, PARENTS)]
            fresh = self._fresh(around, 0, BRED // 2, rng)
        return built

    def _most_promising(self, outlook: Outlook, candidates: Sequence[Candidate]) -> list[Known]:
        """Return the best by guessed costs, built."""
        if not candidates:
            return []
        assert self._costs is not None
        rows = self._encode(candidates)
        unbuilt = [Known(*each) for each in zip(candidates, self._costs(rows), rows, strict=True)]
        return self._built([unbuilt[place].candidate for place in self._best(outlook, unbuilt, BUILT)])

    def _best(self, outlook: Outlook, known: Sequence[Known], count: int) -> list[int]:
        """Return the places of so many at most, the best first."""
        return np.argsort(-self._merits(outlook, known), kind="stable")[:count].tolist()

    def _merits(self, outlook: Outlook, known: Sequence[Known]) -> np.ndarray:
        """Return expected gains; of what breaks a budget, how far it is from keeping it, which is less than any."""
        excesses = np.array([self._excess(one.figures) for one in known])
        return np.where(excesses > 0, -excesses, outlook.gains(known))

    def outlook(self, results: Results) -> Outlook | None:
        """Return what is expected of candidates; None while too little is known."""
        trials = Outlook.observed(self._trials, results, self._reference[0])
        whole = len(trials.whole().scaled)
        if whole < FEWEST_FITTED:
            return None
        count = FEWEST_FITTED
        while (more := max(count + 1, int(count * GROWTH))) <= whole:
            count = more
        if count != self._kernel_trials:
            # Of those that were trained in full only: what stopped ones would have come to is guessed anew each time.
            first = trials.whole(count)
            places = chosen_trials(first, FITTED)
            self._kernel = fitted_kernel(first.features[places], first.scaled[places])
            self._kernel_trials = count
        return Outlook(self._kernel, trials, results, self._objectives, self._reference)


def _rows_and_figures(known: Sequence[Known]) -> tuple[np.ndarray, list[Mapping[str, float]]]:
    return np.array([one.row for one in known]), [one.figures for one in known]
