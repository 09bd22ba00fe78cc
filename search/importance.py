"""Which parameters decided about each objective.

By PED-ANOVA (arXiv 2304.10255), and for parameters that only some candidates have by its conditional form (arXiv
2601.20800), as Optuna has them: how much the best tenth of the candidates differs from the rest in a parameter.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from ..spaces.space import Value
from .results import Results

LEAST_TRIALS = 10
"""Of fewer nothing can be told."""
LEAST_BEST = 5
"""So many candidates at least are taken for the best."""
WIDE_RANGE = 20
"""Beyond this ratio of largest to smallest, numbers are looked at by their logarithm."""


def importances(results: Results) -> dict[str, dict[str, float]]:
    """Return for each objective, by name, the share that each parameter had in it, the largest first.

    The shares of an objective sum to 1. Empty where too few candidates were trained in full; an objective that is the
    same for all is left out. The same results give the same shares.
    """
    records = results.finished
    candidates = [dict(record.candidate.items_sorted) for record in records]
    distributions = _distributions(candidates)
    if len(records) < LEAST_TRIALS or not distributions:
        return {}
    values = results.values(records)
    study = _study(candidates, values.tolist(), distributions)
    return {
        objective.name: _shares(study, column, sorted(distributions))
        for column, objective in enumerate(results.objectives)
        if len(set(values[:, column])) > 1
    }


def is_logarithmic(values: Sequence[float]) -> bool:
    """Return whether numbers are to be looked at by their logarithm."""
    return min(values) > 0 and max(values) / min(values) > WIDE_RANGE


def _distributions(candidates: Sequence[Mapping[str, Value]]) -> dict[str, BaseDistribution]:
    """What each parameter of which something can be told seems drawn from."""
    values: dict[str, list[Value]] = {}
    for candidate in candidates:
        for name, value in candidate.items():
            values.setdefault(name, []).append(value)
    # Optuna wants two candidates of a kind: that have a parameter, and that lack it.
    told = {name: found for name, found in values.items() if len(set(found)) > 1 and len(candidates) - len(found) != 1}
    return {name: _distribution(found) for name, found in told.items()}


def _distribution(values: Sequence[Value]) -> BaseDistribution:
    if any(isinstance(value, bool | str) for value in values):
        return CategoricalDistribution(sorted(set(values), key=str))
    numbers = [float(value) for value in values]
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(min(numbers)), int(max(numbers)))
    return FloatDistribution(min(numbers), max(numbers), log=is_logarithmic(numbers))


def _study(
    candidates: Sequence[Mapping[str, Value]],
    values: Sequence[Sequence[float]],
    distributions: Mapping[str, BaseDistribution],
) -> optuna.Study:
    """The candidates as a study of Optuna in memory."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(directions=["minimize"] * len(values[0]))
    finally:
        optuna.logging.set_verbosity(verbosity)
    for candidate, row in zip(candidates, values, strict=True):
        params = {name: value for name, value in candidate.items() if name in distributions}
        study.add_trial(
            create_trial(values=row, params=params, distributions={name: distributions[name] for name in params})
        )
    return study


def _shares(study: optuna.Study, column: int, names: list[str]) -> dict[str, float]:
    def target(trial: FrozenTrial) -> float:
        return trial.values[column]

    best = max(0.1, LEAST_BEST / len(study.get_trials(deepcopy=False)))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best)
    with warnings.catch_warnings():
        # That a target is minimised, which is what is wanted here.
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
        shares = evaluator.evaluate(study, names, target=target)
    total = sum(shares.values())
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return {name: share / total if total else 0.0 for name, share in ordered}
