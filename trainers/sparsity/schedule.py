"""When weights or channels go: all along the middle of training, or at once. What is left then recovers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """What a sparsifier asks at each step, from 1 to ``steps``."""

    def share(self, step: int, steps: int) -> float:
        """Return the share of the level that is to be reached by now, in [0, 1]."""

    def is_due(self, step: int, steps: int) -> bool:
        """Return whether something is taken out at this step."""


@dataclass(frozen=True)
class Gradual:
    """``s_t = s_f (1 - (1 - u)^3)`` (Zhu and Gupta 2017, arXiv 1710.01878), u from 0 to 1 between two times."""

    begin: float = 0.1
    end: float = 0.6
    """Shares of training. What is taken out late in a cosine schedule leaves no learning rate to recover by."""
    updates: int = 20

    def time(self, step: int, steps: int) -> float:
        """Return u: how far between the two times this step is, in [0, 1]."""
        return min(1.0, max(0.0, (step / steps - self.begin) / (self.end - self.begin)))

    def share(self, step: int, steps: int) -> float:
        return 1 - (1 - self.time(step, steps)) ** 3

    def is_due(self, step: int, steps: int) -> bool:
        def updates_until(step: int) -> int:
            return int(self.updates * self.time(step, steps))

        return updates_until(step) > updates_until(step - 1)


@dataclass(frozen=True)
class OneShot:
    """All at once, where :class:`Gradual` ends."""

    at: float = 0.6

    def share(self, step: int, steps: int) -> float:
        return float(step >= self.at * steps)

    def is_due(self, step: int, steps: int) -> bool:
        return self.share(step, steps) > self.share(step - 1, steps)
