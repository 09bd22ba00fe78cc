"""Proposals: an Optuna sampler over a search space, asked in memory.

The ledger keeps every trial in a database; the sampler works on a copy in memory, so that asking costs no
transactions (a conditional space of 45 parameters would cost 45). Samplers whose work grows with the trials see a
bounded choice of those that ended, so that asking takes as long after 10,000 trials as after 500.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from ..spaces.space import Candidate, Dimension, Float, Int, SearchSpace, Value
from .front import pareto_ranks
from .ledger import constraint_attributes
from .results import Results

STARTUP_TRIALS = 10
"""Random ones, before a sampler of Optuna's decides."""
SHOWN_TRIALS = 500
"""The most ended trials that a sampler of ``BOUNDED`` sees: one half the best, the other the latest."""
BOUNDED = ("tpe", "gp")
"""Evolution needs its generations, which are bounded by themselves."""


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return Optuna's name for a dimension."""
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, step=dimension.step)
    if isinstance(dimension, Float):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return CategoricalDistribution(dimension.options)


def candidate_seed(seed: int, number: int) -> int:
    """Return the seed of one trial, independent of all others and of when it runs."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint32)[0])


def suggested(trial: optuna.Trial, space: SearchSpace) -> dict[str, Value]:
    """Return the parameters of a candidate as a trial suggests them, without those that it has not."""
    values: dict[str, Value] = {}
    for parameter in space.parameters():
        if parameter.exists_in(values):
            dimension, name = parameter.dimension, parameter.name
            if isinstance(dimension, Int):
                values[name] = trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step)
            elif isinstance(dimension, Float):
                values[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
            else:
                option = trial.suggest_categorical(name, dimension.options)
                assert option is not None
                values[name] = option
    return values


class Proposal(NamedTuple):
    """A candidate, its parameters as Optuna has them, and what the sampler keeps with the trial."""

    candidate: Candidate
    distributions: dict[str, BaseDistribution]
    attributes: dict[str, Any]


class OptunaProposer:
    """Asks a sampler for candidates and tells it what became of them."""

    def __init__(self, space: SearchSpace, objectives: int, *, sampler: str, startup_trials: int, seed: int) -> None:
        self._space = space
        self._sampler, self._startup_trials, self._seed = sampler, startup_trials, seed
        self._storage = _SelectiveStorage()
        self._study = optuna.create_study(directions=["minimize"] * objectives, storage=self._storage)
        self._known = 0
        self._running: set[int] = set()
        self._ended = _EndedTrials()

    def restore(self, trials: Sequence[FrozenTrial], state: Mapping[str, Any]) -> None:
        """Learn the ledger's trials, in order of their numbers, and the :attr:`state` that was kept with them."""
        for trial in trials:
            self._study.add_trial(_RestoredTrial.of(trial))
            self._learn(self._known, trial)
            self._known += 1
        for key, value in state.items():
            self._storage.set_study_system_attr(self._study._study_id, key, value)

    def _learn(self, number: int, trial: FrozenTrial) -> None:
        self._running.discard(number)
        if trial.state is TrialState.RUNNING:
            self._running.add(number)
        elif trial.state is not TrialState.FAIL:
            feasible = all(value <= 0 for value in trial.constraints.values())
            self._ended.add(number, trial.values if trial.state is TrialState.COMPLETE and feasible else None)

    @property
    def state(self) -> dict[str, Any]:
        """What the sampler keeps with the study."""
        return self._storage.get_study_system_attrs(self._study._study_id)

    def propose(self, _results: Results | None = None) -> Proposal:
        """Return the next candidate; it counts as running until :meth:`settle`."""
        # A sampler of its own for each number: what is proposed depends on the seed, the number and the trials
        # known, not on how often the driver was restarted.
        number, self._known = self._known, self._known + 1
        self._running.add(number)
        seed = candidate_seed(self._seed, number)
        self._study.sampler = make_sampler(self._sampler, self._startup_trials, seed, sequence_seed=self._seed)
        if self._sampler in BOUNDED and len(self._ended) > SHOWN_TRIALS:
            self._storage.shown = sorted({*self._ended.choice(SHOWN_TRIALS), *self._running})
        trial = self._study.ask()
        values = suggested(trial, self._space)
        self._storage.shown = None
        attributes = self._storage.get_trial_system_attrs(trial._trial_id)
        return Proposal(self._space.candidate(values), dict(trial.distributions), dict(attributes))

    def settle(
        self, number: int, state: TrialState, values: Sequence[float] | None, constraints: Mapping[str, float]
    ) -> None:
        """Tell how the trial of that number ended."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        for key, value in constraint_attributes(constraints).items():
            self._storage.set_trial_system_attr(trial_id, key, value)
        self._storage.set_trial_state_values(trial_id, state, values)
        self._learn(number, self._storage.get_trial(trial_id))


class _EndedTrials:
    """The trials that a sampler learns from, and which of them are worth a look."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._feasible: list[int] = []
        self._values: list[Sequence[float]] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, number: int, values: Sequence[float] | None) -> None:
        """Add a trial with its objectives, or None for one that can never be on the front."""
        self._numbers.append(number)
        if values is not None:
            self._feasible.append(number)
            self._values.append(values)

    def choice(self, count: int) -> set[int]:
        """Return ``count`` trials at most: half of them the best by non-dominated rank, half the latest numbers.

        It follows from which trials there are, not from the order in which they were added.
        """
        latest = sorted(self._numbers)[-(count // 2) :]
        if not self._values:
            return set(latest)
        numbers = np.array(self._feasible)
        ranks = pareto_ranks(np.array(self._values))
        best = numbers[np.lexsort((-numbers, ranks))][: count // 2]
        return {*latest, *best.tolist()}


class _SelectiveStorage(InMemoryStorage):
    """Holds every trial and shows a sampler those that are named, or all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Sequence[int] | None = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if self.shown is None:
            return super().get_all_trials(study_id, deepcopy, states)
        known = super().get_all_trials(study_id, deepcopy=False)
        # The newest is named before it is made.
        trials = [known[number] for number in self.shown if number < len(known)]
        trials = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials


class _RestoredTrial(FrozenTrial):
    """A trial of the ledger as a sampler knows it, without what only the driver has to know: most of it."""

    @classmethod
    def of(cls, trial: FrozenTrial) -> _RestoredTrial:
        restored = copy.copy(trial)
        restored.user_attrs = {}
        restored.__class__ = cls
        assert isinstance(restored, cls)
        return restored

    def __deepcopy__(self, _memo: object) -> _RestoredTrial:
        # The storage keeps a deep copy of what it is given, and replaces what it changes; of thousands of trials, whose
        # distributions nobody changes, it would take seconds.
        return copy.copy(self)


def make_sampler(kind: str, startup_trials: int, seed: int, sequence_seed: int = 0) -> BaseSampler:
    """Return an Optuna sampler for a conditional, constrained, multi-objective study.

    ``seed`` is for one proposal; ``sequence_seed``, the same for all, for samplers that go along a fixed sequence.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if kind == "tpe":
            return optuna.samplers.TPESampler(
                n_startup_trials=startup_trials, multivariate=True, group=True, constant_liar=True, seed=seed
            )
        if kind == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=startup_trials, seed=seed)
        if kind == "nsga3":
            return optuna.samplers.NSGAIIISampler(population_size=startup_trials, seed=seed)
        if kind == "gp":
            return optuna.samplers.GPSampler(
                n_startup_trials=startup_trials, seed=seed, warn_independent_sampling=False
            )
        if kind == "qmc":
            return optuna.samplers.QMCSampler(
                seed=sequence_seed,
                scramble=True,
                independent_sampler=optuna.samplers.RandomSampler(seed),
                warn_independent_sampling=False,
                warn_asynchronous_seeding=False,
            )
    assert kind == "random", kind
    return optuna.samplers.RandomSampler(seed=seed)
