"""What is known of how channels flow through a network: its layers, and which weights belong to which channel."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

STAYS = 0
"""The number of what cannot go: inputs, outputs, what goes through operators that are not known."""


@dataclass(frozen=True)
class Layer:
    """A convolution or a linear layer: the numbers of the channels that it reads and writes, in order."""

    weight: str
    bias: str | None
    reads: Tensor
    writes: Tensor
    gone: Tensor
    """Of each channel that it reads: what stands there once it is gone; NaN where no bias can take that in."""
    groups: int
    is_depthwise: bool
    places: int
    """At how many places of one example each weight is used."""


@dataclass
class Flow:
    """What the walk through a network found."""

    layers: list[Layer] = field(default_factory=list)
    owners: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """By name of a parameter or buffer, then by role ("reads", "writes", "tied"): the number of each element."""
    unknown: set[str] = field(default_factory=set)
    """Operators that this walk does not know: what goes into them stays whole."""
    ties: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    products: list[tuple[Tensor, int]] = field(default_factory=list)
    """Of activations with each other, as in attention: the numbers that go into one, and the MACs of each."""
    heads: list[Tensor] = field(default_factory=list)
    """The numbers of channels that are in a head of attention, of which there are several."""
    count: int = 1

    def labels(self) -> Tensor:
        """Return for each number the least one that it is tied to; 0 of all that stay."""
        labels = torch.arange(self.count)
        if not self.ties:
            return labels
        left, right = (torch.cat([tie[side] for tie in self.ties]) for side in (0, 1))
        while True:
            before = labels.clone()
            least = torch.minimum(labels[left], labels[right])
            labels.scatter_reduce_(0, left, least, "amin")
            labels.scatter_reduce_(0, right, least, "amin")
            labels = labels[labels]
            if torch.equal(before, labels):
                return labels
