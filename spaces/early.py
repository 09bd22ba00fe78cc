"""Networks that answer before their last layer, too: what trains them, and what is left when they are cut there."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class AnswersEarly(nn.Module, ABC):
    """A network whose training weighs several answers: that of its last layer, and some from before it."""

    distillation: float = 0.0
    """Of a classifier: what share of an early answer's loss comes from the last answer instead of from labels."""

    @abstractmethod
    def weighted_answers(self, x: Tensor) -> tuple[tuple[float, Tensor], ...]:
        """Return weights, which sum to 1, and logits, each of the form that ``forward`` returns, the last one first."""
