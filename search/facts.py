"""What is said of a study beside its trials, wherever people look at it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .objectives import Budget

if TYPE_CHECKING:
    from .config import Config


@dataclass(frozen=True)
class StudyFacts:
    """A study's name, its bounds, the device that its models are for and the data that they are from."""

    name: str
    budgets: tuple[Budget, ...] = ()
    device: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    """As :func:`~.study_data.describe_data` tells it; empty where the ledger does not."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """The config's ``data``."""
    tracking: str | None = None
    """The MLflow server that the search writes to; None where the store has its own."""

    @classmethod
    def of(cls, config: Config, header: Mapping[str, Any]) -> StudyFacts:
        """Return what a config and a ledger's header say."""
        budgets, data = config.parsed_budgets(), header.get("data", {})
        return cls(config.study, budgets, Path(config.device).stem, data, config.data, config.tracking)

    @property
    def bounds(self) -> dict[str, float]:
        """The upper bounds by name of objective."""
        return {budget.objective.name: budget.bound for budget in self.budgets}

    @property
    def error_examples(self) -> int | None:
        """Of how many examples the error is a share; None where it is no such share."""
        if self.data.get("task", "classification") != "classification":
            return None
        return self.data.get("examples", {}).get("validation")

    @property
    def data_digest(self) -> str:
        """Sixteen hexadecimal digits that are the same for the same data."""
        text = json.dumps([self.data, self.source], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
