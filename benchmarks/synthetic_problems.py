"""Public multi-objective problems with whole-numbered variables, one objective of each learned slowly.

ZDT1 and ZDT3 (Zitzler, Deb, Thiele 2000), and DTLZ2 (Deb et al. 2002) with three objectives,
all on grids. The last objective plays the error: it is told epoch by epoch, on a curve that falls to it, with
noise; the others are known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from torch import nn

from repareto.search.devices.profile import Profile
from repareto.search.objectives import OBJECTIVES, Budget, Objective
from repareto.spaces.space import Candidate, Int, Parameter, SearchSpace

from .table import Row

EPOCHS = 9
LEVELS = 12
NOISE = 0.01
"""The standard deviation of the logarithm of an error."""
COST = 1000.0
"""One of a known objective, in the unit of a cost."""


@dataclass(frozen=True)
class Grid(SearchSpace):
    """So many whole-numbered variables."""

    name: ClassVar[str] = "grid"

    variables: int = 8

    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter(f"x{index}", Int(0, LEVELS - 1)) for index in range(self.variables))

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        raise NotImplementedError("a problem of numbers has no network")


@dataclass(frozen=True)
class SyntheticProblem:
    """``function`` maps shares of the variables' ranges to (cheap objectives, dear objective)."""

    name: str
    variables: int
    function: Callable[[np.ndarray], tuple[tuple[float, ...], float]]
    reference: tuple[float, ...]
    epochs: int = EPOCHS
    costs: tuple[str, ...] = ("latency",)
    budgets: tuple[Budget, ...] = ()
    _rows: dict[Candidate, Row] = field(default_factory=dict)

    @cached_property
    def space(self) -> SearchSpace:
        return Grid(self.variables)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return tuple(OBJECTIVES[name] for name in ("error", *self.costs))

    def profile(self, candidate: Candidate) -> Profile:
        return self.row(candidate).profile

    def row(self, candidate: Candidate) -> Row:
        if candidate not in self._rows:
            shares = np.array([candidate.integer(f"x{index}") for index in range(self.variables)]) / (LEVELS - 1)
            cheap, dear = self.function(shares)
            rng = random.Random(candidate.digest)
            # Where it starts says little, how fast it falls differs.
            rate = rng.uniform(0.5, 0.7)
            errors = tuple(
                dear * math.exp(rng.gauss(0, NOISE)) * (1 + 2 * rate**epoch) for epoch in range(1, self.epochs)
            )
            final = dear * math.exp(rng.gauss(0, NOISE))
            figures = {OBJECTIVES[name].key: COST * value for name, value in zip(self.costs, cheap, strict=True)}
            self._rows[candidate] = Row(candidate, (*errors, final), final, float(self.epochs), figures)
        return self._rows[candidate]


def _zdt1(x: np.ndarray) -> tuple[tuple[float, ...], float]:
    g = 1 + 9 * x[1:].mean()
    return (x[0],), g * (1 - math.sqrt(x[0] / g))


def _zdt3(x: np.ndarray) -> tuple[tuple[float, ...], float]:
    g = 1 + 9 * x[1:].mean()
    return (x[0],), g * (2 - math.sqrt(x[0] / g) - x[0] / g * math.sin(10 * math.pi * x[0]))


def _dtlz2(x: np.ndarray) -> tuple[tuple[float, ...], float]:
    g = 1 + ((x[2:] - 0.5) ** 2).sum()
    one, two = x[0] * math.pi / 2, x[1] * math.pi / 2
    return (g * math.cos(one) * math.cos(two), g * math.cos(one) * math.sin(two)), g * math.sin(one)


def synthetic_problems() -> tuple[SyntheticProblem, ...]:
    """Return the problems, each with a reference that a random candidate is about as good as."""
    two = ("latency", "peak_memory")
    return (
        SyntheticProblem("zdt1", 8, _zdt1, (5.0, 1.1 * COST)),
        SyntheticProblem("zdt3", 8, _zdt3, (6.0, 1.1 * COST)),
        SyntheticProblem("dtlz2", 7, _dtlz2, (2.0, 2.0 * COST, 2.0 * COST), costs=two),
    )
