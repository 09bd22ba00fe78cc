"""What comes of judging a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Judgement:
    """How a model fares: ``figures`` to compare by, ``error`` and ``test_error`` among them, and what a person wants to
    see beside them."""

    figures: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
