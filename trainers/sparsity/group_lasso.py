"""A factor for each channel, with the lasso on it: what coupled weights share is drawn to zero together.

A penalty on the norms of groups of weights does nothing where a batch normalisation makes up for it; on a factor behind
the normalisation it does (Network Slimming, arXiv 1708.06519; where layers are coupled, arXiv 1707.01213).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.sparsity.gates import Gates
from ...spaces.sparsity.widths import Width
from .channels import ChannelPruning

STRENGTH = 1e-3


class ScaledGates(Gates):
    """Masks times factors that are learnt."""

    def __init__(self, widths: Sequence[Width]) -> None:
        super().__init__(widths)
        self.scale = nn.Parameter(torch.ones(sum(self.sizes)))

    def factors(self) -> Tensor:
        return self.mask * self.scale


class GroupLasso(ChannelPruning):
    """Closes the gates with the smallest factors."""

    _gates: ScaledGates

    def _new_gates(self, widths: Sequence[Width]) -> Gates:
        return ScaledGates(widths)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [self._gates.scale], "lr": learning_rate, "weight_decay": 0.0}]

    def penalty(self) -> Tensor | None:
        return STRENGTH * self._gates.factors().abs().sum()

    def _channel_scores(self) -> Tensor:
        return self._gates.scale.detach().abs()
