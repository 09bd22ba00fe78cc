"""What the operating points of a study may have at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..objectives import Budget


@dataclass(frozen=True)
class Bounds:
    """What operating points may have at most."""

    error: float = math.inf
    expected_latency_us: float = math.inf

    @classmethod
    def of(cls, budgets: Sequence[Budget]) -> Bounds:
        """Return those of a config's budgets that operating points differ in."""
        bounds = {budget.objective.key: budget.bound for budget in budgets}
        return cls(**{key: bounds[key] for key in ("error", "expected_latency_us") if key in bounds})
