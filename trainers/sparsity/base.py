"""What a sparsifier is to a trainer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from ..losses import Loss


class Sparsifier(ABC):
    """Takes weights or channels out of a model while it is trained, all of them before training ends."""

    networks = 1
    """How many networks of different sparsity are trained in the one model."""

    @abstractmethod
    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        """Make a model ready, in place, before its optimiser is made.

        ``examples`` (n, *input_shape) are some of the training data; ``steps`` are those of the whole training.
        """

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the optimiser's groups of what the sparsifier itself learns; ``learning_rate`` is that of weights."""
        del learning_rate
        return []

    def loss(self, task: Loss, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        """Return what a step minimises in place of ``task``."""
        return task(model, features, labels)

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss of the step, or None."""
        return None

    @abstractmethod
    def after_step(self) -> None:
        """See that what is out stays out; called after each step of the optimiser."""

    def show(self, network: int) -> None:
        """Let the model be one of its ``networks``, in place, the widest of them is the first."""
        assert network == 0, network

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return all that is not in the model."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`, after :meth:`start`."""
