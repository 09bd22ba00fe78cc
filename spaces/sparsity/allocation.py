"""How many channels each width keeps: its own share, or what its channels are worth among all of the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from .costs import Costs, best_within
from .widths import Width, kept_at, level_at


class Allocation(ABC):
    """Which channels of a network stay, by their scores, so that it is no larger than its levels say."""

    def __init__(self, costs: Costs, widths: Sequence[Width], levels: Sequence[float]) -> None:
        self.costs, self.widths, self.levels = costs, widths, levels
        self.dense = costs(torch.ones(sum(costs.sizes)))
        self.limit = costs(costs.even(kept_at(widths, levels)))
        """Parameters and MACs, (2,), of the network whose widths all keep the share that the levels say."""

    @abstractmethod
    def kept(self, scores: Tensor, share: float) -> Tensor:
        """Return a mask (channels,) of what stays when a ``share`` of all that goes is gone."""


class EachWidth(Allocation):
    """Every width keeps the share that the level of its part says."""

    def kept(self, scores: Tensor, share: float) -> Tensor:
        masks = [torch.zeros(0, dtype=torch.bool)]
        for width, own in zip(self.widths, scores.split(self.costs.sizes), strict=True):
            count = width.kept(share * level_at(self.levels, width.depth))
            masks.append(torch.zeros_like(own, dtype=torch.bool).index_fill(0, own.topk(count).indices, True))
        return torch.cat(masks)


class WholeNetwork(Allocation):
    """The highest scores of all widths stay, within the parameters and the MACs that the levels would leave."""

    def kept(self, scores: Tensor, share: float) -> Tensor:
        return best_within(self.costs, scores, self.dense - share * (self.dense - self.limit))
