"""The whole network: strided convolutions, blocks, a CTC head, and how it is cut at a depth without training.

Intermediate CTC and stochastic depth make each prefix of the blocks a network of its own ("Layer Pruning on Demand with
Intermediate CTC", Lee, Kang and Watanabe 2021, arXiv 2106.09216). Of that paper the abstract alone could be read; which
depth answers is a reconstruction, see :meth:`ConformerCTC.weighted_answers`.

Shape legend: n examples, b bands, t frames, s steps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..early import AnswersEarly
from ..errors import UserError
from .attention import Rotation
from .block import ConformerBlock


class Subsampling(nn.Module):
    """Features (n, b, t) -> (n, s, width) through convolutions over time, a ReLU after each."""

    def __init__(self, convolutions: Sequence[nn.Module]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)

    def forward(self, features: Tensor) -> Tensor:
        line = features.unsqueeze(2)
        for convolution in self.convolutions:
            line = torch.relu(convolution(line))
        return line.squeeze(2).transpose(1, 2)


class ConformerCTC(AnswersEarly):
    """Features (n, b, t) -> logits (n, s, tokens), where token 0 is CTC's blank."""

    def __init__(
        self,
        subsampling: Subsampling,
        rotation: Rotation,
        blocks: Sequence[ConformerBlock],
        head: nn.Linear,
        *,
        intermediate_weight: float,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        self.subsampling, self.rotation = subsampling, rotation
        self.blocks, self.head = nn.ModuleList(blocks), head
        self.intermediate_weight, self.stochastic_depth = intermediate_weight, stochastic_depth

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self._after_each_block(features)[-1])

    def weighted_answers(self, features: Tensor) -> tuple[tuple[float, Tensor], ...]:
        """Return L = (1 - w) CTC + w CTC_mid as weights and logits: the last block's, and those of one before it.

        Which one is drawn for each batch, for a mean over all that costs one head; all share the head.
        """
        hidden = self._after_each_block(features)
        weight = self.intermediate_weight
        if weight == 0 or len(hidden) == 1:
            return ((1.0, self.head(hidden[-1])),)
        early = hidden[int(torch.randint(len(hidden) - 1, ()))]
        return ((1.0 - weight, self.head(hidden[-1])), (weight, self.head(early)))

    def _after_each_block(self, features: Tensor) -> list[Tensor]:
        x = self.subsampling(features)
        hidden = []
        for number in range(1, len(self.blocks) + 1):
            x = self.behind_block(number, x)
            hidden.append(x)
        return hidden

    def behind_block(self, number: int, x: Tensor) -> Tensor:
        """Return what a block, counted from 1, makes of the map before it; in training it may be passed by."""
        return x if self._is_skipped(number) else self.blocks[number - 1](x, self.rotation)

    def _is_skipped(self, number: int) -> bool:
        """Whether a batch in training passes a block by: the later, the likelier (Huang et al., arXiv 1603.09382).

        What is left needs no scale, for each block ends in a normalisation.
        """
        rate = self.stochastic_depth * number / len(self.blocks)
        return self.training and rate > 0 and bool(torch.rand(()) < rate)


def cut(network: ConformerCTC, depth: int) -> ConformerCTC:
    """Return a copy with the first ``depth`` blocks alone, fused where the network is; its weights are copied.

    Raises :class:`UserError` for a depth that the network has not got.
    """
    blocks = len(network.blocks)
    if not 1 <= depth <= blocks:
        raise UserError(f"depth {depth}: the network has {blocks} blocks (cut it at 1 to {blocks})")
    shorter = copy.copy(network)
    shorter._modules = {**network._modules, "blocks": network.blocks[:depth]}
    return copy.deepcopy(shorter)
