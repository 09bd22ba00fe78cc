"""What holds a network in training to a size: a multiplier of by how much it is too large, that learns too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor


class Multiplier(ABC):
    """Adds to the loss what is too large, and grows while it is; sizes are shares of the dense network's."""

    @abstractmethod
    def target(self, time: float, target: float) -> float:
        """Return the size to hold at a ``time`` in [0, 1] between where channels begin to go and where all are gone."""

    @abstractmethod
    def penalty(self, excess: Tensor) -> Tensor:
        """Return what is added to the loss."""

    @abstractmethod
    def ascend(self, excess: float) -> None:
        """Take a step up, against the optimiser's down."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""


class Lagrangian(Multiplier):
    """``lambda1 (s - t) + lambda2 (s - t)^2``, both ascending, t warmed up (CoFi, Xia et al. 2022, arXiv 2204.00408).

    An equality: a network that is too small is drawn up again.
    """

    _WARMUP = 2 / 3
    """Of the time: early enough on target that the gates can settle."""

    def __init__(self, rate: float) -> None:
        self._rate, self._first, self._second = rate, 0.0, 0.0

    def target(self, time: float, target: float) -> float:
        return 1 - min(1.0, time / self._WARMUP) * (1 - target)

    def penalty(self, excess: Tensor) -> Tensor:
        return self._first * excess + self._second * excess.square()

    def ascend(self, excess: float) -> None:
        self._first += self._rate * excess
        self._second += self._rate * excess**2

    def state_dict(self) -> dict[str, Any]:
        return {"first": self._first, "second": self._second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._first, self._second = state["first"], state["second"]


class Constraint(Multiplier):
    """``min_theta max_{lambda >= 0} L + lambda (g - eps)``, lambda back to 0 as soon as the size is small enough (dual
    restarts, Gallego-Posada et al. 2022, arXiv 2208.04425). An inequality, without warm-up: eps is always the target.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._multiplier = rate, 0.0

    def target(self, time: float, target: float) -> float:
        return target if time > 0 else 1.0

    def penalty(self, excess: Tensor) -> Tensor:
        return self._multiplier * excess

    def ascend(self, excess: float) -> None:
        self._multiplier = self._multiplier + self._rate * excess if excess > 0 else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"multiplier": self._multiplier}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._multiplier = state["multiplier"]
