"""Searches as an expert would set them up elsewhere, on problems whose training is looked up.

Ray Tune's and Syne Tune's own schedulers and searchers are driven directly, one trial after the other. What a peer
proposes a second time costs it nothing.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna

from repareto.search.front import GrowingFront
from repareto.search.objectives import known_budgets
from repareto.search.records import profile_figures
from repareto.search.sampling import suggested
from repareto.search.study import REJECTION_LIMIT
from repareto.spaces.space import Candidate, Choice, Dimension, Float

from .simulated_study import Problem
from .table import Row

Trace = list[tuple[int, float]]
"""Epochs trained so far and hypervolume, at each improvement."""
PATIENCE = 10
"""A peer that proposes nothing new so many times as it has trials has ended."""


class Training:
    """Looks up what a peer trains and counts its epochs."""

    def __init__(self, problem: Problem, epochs: int) -> None:
        self.problem, self._budget = problem, epochs
        self._front = GrowingFront(np.array(problem.reference))
        self._trained: dict[Candidate, int] = {}
        self._asked, self._rejected_in_a_row = 0, 0
        self._epochs = 0
        self.trace: Trace = [(0, 0.0)]

    @property
    def goes_on(self) -> bool:
        patient = self._asked < PATIENCE * self._budget / self.problem.epochs
        return patient and self._epochs < self._budget and self._rejected_in_a_row < REJECTION_LIMIT

    def begin(self, values: dict[str, Any]) -> Row:
        """Return what training gives; what breaks a budget is not trained, and is told as no better than guessing."""
        problem, chosen = self.problem, dict[str, Any]()
        for parameter in problem.space.parameters():
            if parameter.exists_in(chosen):
                chosen[parameter.name] = values[parameter.name]
        candidate = problem.space.candidate(chosen)
        figures = profile_figures(asdict(problem.profile(candidate)))
        self._rejected_in_a_row += 1
        if not any(budget.excess(figures) > 0 for budget in known_budgets(problem.budgets, figures)):
            self._asked, self._rejected_in_a_row = self._asked + 1, 0
            return problem.row(candidate)
        self._trained[candidate] = problem.epochs
        guessing = problem.reference[0]
        return Row(candidate, (guessing,) * problem.epochs, guessing, 0.0, figures)

    def objectives(self, row: Row, epoch: int) -> list[float]:
        """Train up to an epoch, and return the objectives there; the error of an earlier epoch is no front's."""
        before = self._trained.get(row.candidate, 0)
        self._epochs += max(0, epoch - before)
        self._trained[row.candidate] = max(epoch, before)
        costs = [row.figures[str(objective.known_key)] for objective in self.problem.objectives[1:]]
        values = [row.errors[epoch - 1], *costs]
        if epoch == self.problem.epochs and before < epoch:
            self._front.add(self._asked, values)
            if self._front.hypervolume > self.trace[-1][1]:
                self.trace.append((self._epochs, self._front.hypervolume))
        return values


def optuna_alone(sampler: Callable[[int], Any]) -> Callable[[Training, int], None]:
    """Ask and tell, each trial trained in full."""

    def search(training: Training, seed: int) -> None:
        problem = training.problem
        study = optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=sampler(seed))
        while training.goes_on:
            trial = study.ask()
            row = training.begin(suggested(trial, problem.space))
            study.tell(trial, training.objectives(row, problem.epochs))

    return search


def ray_optuna(sampler: Callable[[int], Any], *, stops: bool) -> Callable[[Training, int], None]:
    """Ray Tune with ``OptunaSearch`` over all objectives, and ASHA on the error where it ``stops``."""

    def search(training: Training, seed: int) -> None:
        from ray.tune.schedulers import ASHAScheduler, TrialScheduler
        from ray.tune.search.optuna import OptunaSearch

        problem = training.problem
        names = [objective.key for objective in problem.objectives]

        def space(trial: optuna.Trial) -> None:
            suggested(trial, problem.space)

        searcher = OptunaSearch(space, metric=names, mode=["min"] * len(names), sampler=sampler(seed))
        scheduler = ASHAScheduler(
            "training_iteration", metric="error", mode="min", max_t=problem.epochs, grace_period=3, reduction_factor=3
        )
        number = 0
        while training.goes_on:
            trial: Any = SimpleNamespace(trial_id=f"{number}")
            row, number = training.begin(searcher.suggest(trial.trial_id)), number + 1
            scheduler.on_trial_add(None, trial)
            for epoch in range(1, problem.epochs + 1):
                result = dict(zip(names, training.objectives(row, epoch), strict=True), training_iteration=epoch)
                decision = scheduler.on_trial_result(None, trial, result) if stops else None
                if decision == TrialScheduler.STOP:
                    break
            searcher.on_trial_complete(trial.trial_id, result)

    return search


def _syne_tune_space(problem: Problem) -> dict[str, Any]:
    from syne_tune.config_space import choice, loguniform, randint, uniform

    space: dict[str, Any] = {}
    for parameter in problem.space.parameters():
        dimension = parameter.dimension
        if isinstance(dimension, Choice):
            space[parameter.name] = choice(list(dimension.options))
        elif isinstance(dimension, Float):
            space[parameter.name] = (loguniform if dimension.log else uniform)(dimension.low, dimension.high)
        else:
            steps = range(dimension.low, dimension.high + 1, dimension.step)
            space[parameter.name] = randint(dimension.low, dimension.high) if dimension.step == 1 else choice([*steps])
    return space


def syne_tune_moasha(training: Training, seed: int) -> None:
    """Syne Tune's MO-ASHA, random candidates and rungs by non-dominated rank."""
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    problem = training.problem
    # It draws from numpy's global generator.
    np.random.seed(seed)  # noqa: NPY002
    names = [objective.key for objective in problem.objectives]
    scheduler = MOASHA(
        _syne_tune_space(problem), names, time_attr="epoch", max_t=problem.epochs, grace_period=1, reduction_factor=3
    )
    number = 0
    while training.goes_on:
        trial: Any = SimpleNamespace(trial_id=number)
        row, number = training.begin(_plain(scheduler.suggest().config)), number + 1
        scheduler.on_trial_add(trial)
        for epoch in range(1, problem.epochs + 1):
            result = dict(zip(names, training.objectives(row, epoch), strict=True), epoch=epoch)
            if epoch == problem.epochs:
                scheduler.on_trial_complete(trial, result)
            elif scheduler.on_trial_result(trial, result) == "STOP":
                break


def syne_tune_evolution(training: Training, seed: int) -> None:
    """Syne Tune's multi-objective regularised evolution, with a population that fits a hundred trials."""
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

    searcher = MultiObjectiveRegularizedEvolution(
        _syne_tune_space(training.problem), population_size=20, sample_size=5, random_seed=seed
    )
    number = 0
    while training.goes_on:
        config = searcher.suggest()
        values = training.objectives(training.begin(_plain(config)), training.problem.epochs)
        searcher.on_trial_complete(number, config, values)
        number += 1


def ax_nehvi(training: Training, seed: int) -> None:
    """Ax as it sets itself up for several objectives: quasi-random candidates, then BoTorch's qLogNEHVI."""
    from ax.api.client import Client

    problem = training.problem
    names = [objective.key for objective in problem.objectives]
    bounds = [f"{name} <= {bound}" for name, bound in zip(names, problem.reference, strict=True)]
    # Dots in names would be attributes in its expressions.
    parameters = {parameter.name.replace(".", "__"): parameter for parameter in problem.space.parameters()}
    client = Client(random_seed=seed)
    client.configure_experiment([_ax_parameter(name, each.dimension) for name, each in parameters.items()])
    client.configure_optimization(", ".join(f"-{name}" for name in names), outcome_constraints=bounds)
    while training.goes_on:
        ((number, values),) = client.get_next_trials(max_trials=1).items()
        row = training.begin({parameters[name].name: value for name, value in values.items()})
        told = dict(zip(names, training.objectives(row, problem.epochs), strict=True))
        client.complete_trial(number, raw_data=told)


def _ax_parameter(name: str, dimension: Dimension) -> Any:
    from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

    if isinstance(dimension, Choice):
        (kind,) = {type(option).__name__ for option in dimension.options}
        return ChoiceParameterConfig(name=name, values=list(dimension.options), parameter_type=kind)
    bounds = (dimension.low, dimension.high)
    if isinstance(dimension, Float):
        scaling = "log" if dimension.log else "linear"
        return RangeParameterConfig(name=name, bounds=bounds, parameter_type="float", scaling=scaling)
    return RangeParameterConfig(name=name, bounds=bounds, parameter_type="int", step_size=dimension.step)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return values as Python's own: Syne Tune gives some of numpy's."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in config.items()}


def _tpe(seed: int) -> Any:
    return optuna.samplers.TPESampler(seed=seed)


def _nsga2(seed: int) -> Any:
    return optuna.samplers.NSGAIISampler(population_size=20, seed=seed)


def _random(seed: int) -> Any:
    return optuna.samplers.RandomSampler(seed=seed)


PEERS: dict[str, Callable[[Training, int], None]] = {
    "random": optuna_alone(_random),
    "Optuna TPE": optuna_alone(_tpe),
    "Optuna NSGA-II": optuna_alone(_nsga2),
    "Ray OptunaSearch TPE + ASHA": ray_optuna(_tpe, stops=True),
    "Ray OptunaSearch NSGA-II": ray_optuna(_nsga2, stops=False),
    "Ray OptunaSearch NSGA-II + ASHA": ray_optuna(_nsga2, stops=True),
    "Syne Tune MO-ASHA": syne_tune_moasha,
    "Syne Tune MO-REA": syne_tune_evolution,
    "Ax qLogNEHVI": ax_nehvi,
}


def run_peer(name: str, problem: Problem, seed: int, epochs: int) -> Trace:
    """Search with a peer until so many epochs are trained; raises ImportError where it is not installed."""
    training = Training(problem, epochs)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ax").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PEERS[name](training, seed)
    return training.trace
