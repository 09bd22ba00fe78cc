"""Proposals: an Optuna sampler over a search space, asked in memory.

The ledger keeps every trial in a database; the sampler works on a copy in memory, so that asking costs no
transactions (a conditional space of 45 parameters would cost 45).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from ..spaces.space import Candidate, Dimension, Float, Int, SearchSpace, Value
from .ledger import constraint_attributes


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


class Proposal(NamedTuple):
    """A candidate, its parameters as Optuna has them, and what the sampler keeps with the trial."""

    candidate: Candidate
    distributions: dict[str, BaseDistribution]
    attributes: dict[str, Any]


class Proposer:
    """Asks a sampler for candidates and tells it what became of them."""

    def __init__(self, space: SearchSpace, objectives: int, *, sampler: str, startup_trials: int, seed: int) -> None:
        self._space = space
        self._sampler, self._startup_trials, self._seed = sampler, startup_trials, seed
        self._study = optuna.create_study(directions=["minimize"] * objectives, storage=None)
        self._storage = self._study._storage

    def restore(self, trials: Sequence[FrozenTrial], state: Mapping[str, Any]) -> None:
        """Learn the ledger's trials, in order of their numbers, and the :attr:`state` that was kept with them."""
        for trial in trials:
            self._study.add_trial(trial)
        for key, value in state.items():
            self._storage.set_study_system_attr(self._study._study_id, key, value)

    @property
    def state(self) -> dict[str, Any]:
        """What the sampler keeps with the study."""
        return self._storage.get_study_system_attrs(self._study._study_id)

    def propose(self) -> Proposal:
        """Return the next candidate; it counts as running until :meth:`settle`."""
        # A sampler of its own for each number: what is proposed depends on the seed, the number and the trials
        # known, not on how often the driver was restarted.
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = make_sampler(self._sampler, self._startup_trials, candidate_seed(self._seed, number))
        trial = self._study.ask()
        values: dict[str, Value] = {}
        for parameter in self._space.parameters():
            if parameter.exists_in(values):
                dimension = parameter.dimension
                if isinstance(dimension, Int):
                    values[parameter.name] = trial.suggest_int(
                        parameter.name, dimension.low, dimension.high, step=dimension.step
                    )
                elif isinstance(dimension, Float):
                    values[parameter.name] = trial.suggest_float(
                        parameter.name, dimension.low, dimension.high, log=dimension.log
                    )
                else:
                    option = trial.suggest_categorical(parameter.name, dimension.options)
                    assert option is not None
                    values[parameter.name] = option
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


def make_sampler(kind: str, startup_trials: int, seed: int) -> BaseSampler:
    """Return an Optuna sampler for a conditional, constrained, multi-objective study."""
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
    assert kind == "random", kind
    return optuna.samplers.RandomSampler(seed=seed)
