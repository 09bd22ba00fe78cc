"""What a search minimises and what bounds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..spaces.errors import UserError, nearest_hint
from .units import format_quantity, parse_quantity


@dataclass(frozen=True)
class Objective:
    """A figure of the fused model that is minimised."""

    name: str
    key: str
    """Name of the figure in a measurement, its unit included."""
    kind: str
    """Kind of quantity, see :mod:`.units`."""
    needs_training: bool = False
    stand_in: str | None = None
    """Of a figure that needs training: one that is known before and is never less, where there is such a one."""

    @property
    def known_key(self) -> str | None:
        """The figure that speaks for this one before training; None for the error."""
        return self.stand_in if self.needs_training else self.key

    def format(self, value: float) -> str:
        return format_quantity(value, self.kind)


OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective("error", "error", "fraction", needs_training=True),
        Objective("latency", "latency_us", "duration"),
        Objective("expected_latency", "expected_latency_us", "duration", needs_training=True, stand_in="latency_us"),
        Objective("peak_memory", "peak_memory_bytes", "size"),
        Objective("flash", "flash_bytes", "size"),
        Objective("macs", "macs", "count"),
        Objective("expected_macs", "expected_macs", "count", needs_training=True, stand_in="macs"),
        Objective("personal_error", "personal_error", "fraction", needs_training=True),
        Objective("parameters", "parameters", "count"),
    )
}


def objective(name: str) -> Objective:
    """Return the objective of that name; raises :class:`UserError` with the nearest known one."""
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r} is unknown ({nearest_hint(name, OBJECTIVES)})")
    return OBJECTIVES[name]


@dataclass(frozen=True)
class Budget:
    """An upper bound on a figure. What exceeds it is infeasible."""

    objective: Objective
    bound: float

    @classmethod
    def parse(cls, name: str, text: object) -> Budget:
        """Return the budget that ``name: text`` of a config or ``name=text`` of the command line means."""
        bounded = objective(name)
        try:
            return cls(bounded, parse_quantity(text, bounded.kind))
        except UserError as error:
            raise UserError(f"budget {name} {error}") from error

    def excess(self, figures: Mapping[str, float]) -> float:
        """Return by which fraction of the bound the figure exceeds it; feasible where <= 0."""
        return figures[self.objective.key] / self.bound - 1

    def explain(self, figures: Mapping[str, float]) -> str:
        """Return such as ``latency 2.3 ms > 2 ms``."""
        value = figures[self.objective.key]
        return f"{self.objective.name} {self.objective.format(value)} > {self.objective.format(self.bound)}"


def known_budgets(budgets: Sequence[Budget], figures: Mapping[str, float]) -> list[Budget]:
    """Return the budgets whose figure is known: that on the error is not before training."""
    return [budget for budget in budgets if budget.objective.key in figures]


def budget_excesses(budgets: Sequence[Budget], figures: Mapping[str, float]) -> dict[str, float]:
    """Return constraints for Optuna, by budget name: feasible where <= 0."""
    return {budget.objective.name: budget.excess(figures) for budget in known_budgets(budgets, figures)}


def with_stand_ins(figures: Mapping[str, float], objectives: Iterable[Objective]) -> dict[str, float]:
    """Return figures with those that a stand-in gives: without early exits what is expected is what always is."""
    full = dict(figures)
    for objective in objectives:
        if objective.stand_in in full:
            full.setdefault(objective.key, full[objective.stand_in])
    return full
