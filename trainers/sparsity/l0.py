"""Gates that are learnt: L0 regularisation by the hard concrete distribution, a Lagrangian to hold the target.

Louizos et al. 2018 (arXiv 1712.01312) for the gates, CoFi (Xia et al. 2022, arXiv 2204.00408) for the Lagrangian; after
the structured pruning of the Conformer (arXiv 2305.19549).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.sparsity.gates import Gates
from ...spaces.sparsity.widths import Width, level_at
from .channels import ChannelPruning
from .schedule import Gradual

GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3
START_LOG_ALPHA = 2.0
"""Of each gate: open with a probability of 97 %."""
GATES_RATE = 100.0
"""The gates' learning rate over that of weights: they have a few hundred steps to decide in."""
MULTIPLIER_RATE = 1.5
LARGEST_LOG_ALPHA = 4.6
"""Beyond it a gate is so surely open or shut that no gradient reaches it."""
LEAST_FACTOR = 0.1


class HardConcreteGates(Gates):
    """Factors drawn anew for each step of training; their means when it is over."""

    noise: Tensor
    is_decided: Tensor

    def __init__(self, widths: Sequence[Width]) -> None:
        super().__init__(widths)
        self.log_alpha = nn.Parameter(torch.full((sum(self.sizes),), START_LOG_ALPHA))
        self.register_buffer("noise", torch.zeros(sum(self.sizes)))
        self.register_buffer("is_decided", torch.zeros((), dtype=torch.bool))
        self.draw()

    def draw(self) -> None:
        """Draw the noise of the next step: ``ln u - ln(1 - u)``."""
        uniform = torch.rand(len(self.noise)).clamp(1e-6, 1 - 1e-6)
        self.noise.copy_(uniform.log() - torch.log1p(-uniform))

    def factors(self) -> Tensor:
        if self.is_decided or not self.training:
            means = _stretched(torch.sigmoid(0.8 * self.log_alpha / BETA))
            # Which gates are open is decided: one that is kept is not let fall to nothing.
            return self.mask * (means.detach().clamp_min(LEAST_FACTOR) if self.is_decided else means)
        return self.mask * _stretched(torch.sigmoid((self.noise + self.log_alpha) / BETA))

    def open_probabilities(self) -> Tensor:
        """Return P(z != 0) of each gate."""
        return torch.sigmoid(self.log_alpha - BETA * math.log(-GAMMA / ZETA))


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


class HardConcrete(ChannelPruning):
    """``L = task + lambda1 (s - t) + lambda2 (s - t)^2`` for each width; the lambdas ascend, t is warmed up."""

    _gates: HardConcreteGates

    def __init__(self, levels: Sequence[float], schedule: Gradual) -> None:
        super().__init__(levels, schedule)
        self._gradual = schedule

    def _new_gates(self, widths: Sequence[Width]) -> Gates:
        self._targets = torch.tensor([1 - width.kept(level_at(self._levels, width.depth)) / len(width.labels)
                                      for width in widths])  # fmt: skip
        self._multipliers = torch.zeros(2, len(widths))
        return HardConcreteGates(widths)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [self._gates.log_alpha], "lr": GATES_RATE * learning_rate, "weight_decay": 0.0}]

    def _excess(self) -> Tensor:
        """Return by how much each width's expected sparsity is above its target of the moment."""
        opened = torch.stack([open_.mean() for open_ in self._gates.by_width(self._gates.open_probabilities())])
        # Early enough on target that the gates can settle.
        time = min(1.0, 1.5 * self._gradual.time(self._step, self._steps))
        return (1 - opened) - time * self._targets.to(opened.device)

    def penalty(self) -> Tensor | None:
        if self._gates.is_decided:
            return None
        excess = self._excess()
        first, second = self._multipliers.to(excess.device)
        return (first * excess + second * excess.square()).sum()

    @torch.no_grad()
    def after_step(self) -> None:
        if not self._gates.is_decided:
            excess = self._excess().cpu()
            self._multipliers += MULTIPLIER_RATE * torch.stack([excess, excess.square()])
            self._gates.log_alpha.clamp_(-LARGEST_LOG_ALPHA, LARGEST_LOG_ALPHA)
            self._gates.draw()
        super().after_step()

    def _close(self, share: float) -> None:
        if share == 1:
            super()._close(share)
            self._gates.is_decided.fill_(True)

    def _channel_scores(self) -> Tensor:
        return self._gates.log_alpha.detach()

    @property
    def expected_levels(self) -> list[float]:
        """The expected share of closed gates of each width, before they are decided."""
        return [1 - float(open_.mean()) for open_ in self._gates.by_width(self._gates.open_probabilities().detach())]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "multipliers": self._multipliers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._multipliers = state["multipliers"]
