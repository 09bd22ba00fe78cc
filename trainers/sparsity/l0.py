"""Gates that are learnt: L0 regularisation by the hard concrete distribution, within what the network may cost.

Louizos et al. 2018 (arXiv 1712.01312) for the gates; after the structured pruning of the Conformer (arXiv 2305.19549).
They decide how many channels each width keeps. When they are decided, those that are the surest to be open stay, as
many as cost no more than the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.sparsity.allocation import WholeNetwork
from ...spaces.sparsity.gates import Gates
from ...spaces.sparsity.widths import CHANNEL, Width
from .channels import ChannelPruning
from .multipliers import Multiplier
from .schedule import Gradual

GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3
START_LOG_ALPHA = 2.0
"""Of each gate: open with a probability of 97 %."""
GATES_RATE = 100.0
"""The gates' learning rate over that of weights: they have a few hundred steps to decide in."""
FIRST_OPEN = 0.4
"""Of the schedule's time: what learns with all gates open first knows which channels it needs."""
LARGEST_LOG_ALPHA = 4.6
"""Beyond it a gate is so surely open or shut that no gradient reaches it."""


class HardConcreteGates(Gates):
    """Factors that are one, then drawn anew for each step of training, until it is decided which are zero."""

    noise: Tensor
    are_drawn: Tensor

    def __init__(self, widths: Sequence[Width]) -> None:
        super().__init__(widths)
        self.log_alpha = nn.Parameter(torch.full((sum(self.sizes),), START_LOG_ALPHA))
        self.register_buffer("noise", torch.zeros(sum(self.sizes)))
        self.register_buffer("are_drawn", torch.zeros((), dtype=torch.bool))
        self.draw()

    def draw(self) -> None:
        """Draw the noise of the next step: ``ln u - ln(1 - u)``."""
        uniform = torch.rand(len(self.noise)).clamp(1e-6, 1 - 1e-6)
        self.noise.copy_(uniform.log() - torch.log1p(-uniform))

    def factors(self) -> Tensor:
        if not self.are_drawn:
            return self.mask
        if not self.training:
            return self.mask * _stretched(torch.sigmoid(0.8 * self.log_alpha / BETA))
        return self.mask * _stretched(torch.sigmoid((self.noise + self.log_alpha) / BETA))

    def open_probabilities(self) -> Tensor:
        """Return P(z != 0) of each gate."""
        return torch.sigmoid(self.log_alpha - BETA * math.log(-GAMMA / ZETA))


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


class HardConcrete(ChannelPruning):
    """Gates that learn which channels the task needs, while a multiplier holds what the network is expected to cost."""

    _gates: HardConcreteGates

    def __init__(
        self, levels: Sequence[float], schedule: Gradual, multiplier: Multiplier, granularity: str = CHANNEL
    ) -> None:
        begin = schedule.begin + FIRST_OPEN * (schedule.end - schedule.begin)
        self._gradual, self._multiplier = replace(schedule, begin=begin), multiplier
        super().__init__(levels, self._gradual, granularity=granularity, allocation=WholeNetwork)

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        super().start(model, examples, steps)
        self._costs = self._allocation.costs.to(examples.device)

    def _new_gates(self, widths: Sequence[Width]) -> Gates:
        return HardConcreteGates(widths)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [self._gates.log_alpha], "lr": GATES_RATE * learning_rate, "weight_decay": 0.0}]

    def expected_sizes(self) -> Tensor:
        """Return the parameters and MACs, (2,), that are expected, as shares of the dense network's; once gates are
        decided, those of just before."""
        sizes = self._costs(self._gates.open_probabilities())
        return sizes / self._allocation.dense.to(sizes.device)

    @property
    def target_sizes(self) -> Tensor:
        """Those that the levels leave."""
        return self._allocation.limit / self._allocation.dense

    def _excess(self) -> Tensor:
        """Return by how much more is expected than is to be left by now, of what there is more too much of."""
        time = self._gradual.time(self._step, self._steps)
        targets = [self._multiplier.target(time, target) for target in self.target_sizes.tolist()]
        sizes = self.expected_sizes()
        return (sizes - torch.tensor(targets, dtype=sizes.dtype, device=sizes.device)).amax()

    def penalty(self) -> Tensor | None:
        return self._multiplier.penalty(self._excess()) if self._gates.are_drawn else None

    @torch.no_grad()
    def after_step(self) -> None:
        if self._gates.are_drawn:
            self._multiplier.ascend(float(self._excess()))
            self._gates.log_alpha.clamp_(-LARGEST_LOG_ALPHA, LARGEST_LOG_ALPHA)
        super().after_step()
        self._gates.are_drawn.fill_(0 < self._gradual.time(self._step, self._steps) < 1)
        if self._gates.are_drawn:
            self._gates.draw()

    def _close(self, share: float) -> None:
        if share == 1:
            super()._close(share)

    def _channel_scores(self) -> Tensor:
        return self._gates.log_alpha.detach()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "multiplier": self._multiplier.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._multiplier.load_state_dict(state["multiplier"])
