"""Widths: sets of channels that the same layers read and write, and how many of each a level of sparsity leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .flow import STAYS, Flow


@dataclass(frozen=True)
class Width:
    """Channels that exactly the same layers read and write. As each width keeps a channel, so does each layer."""

    labels: Tensor
    """Of each channel, see :meth:`Flow.labels`; channels that are tied are one."""
    depth: float
    """Where in the network its first layer stands, in [0, 1)."""

    def kept(self, level: float) -> int:
        """Return how many channels are left where a share ``level`` is removed: at least one."""
        return max(1, round((1 - level) * len(self.labels)))


def widths_of(flow: Flow) -> list[Width]:
    """Return the widths of a network in the order of their first channels."""
    labels = flow.labels()
    layers_of: dict[int, list[int]] = {}
    for index, layer in enumerate(flow.layers):
        for label in labels[torch.cat([layer.writes, layer.reads])].unique().tolist():
            layers_of.setdefault(label, []).append(index)
    by_layers: dict[tuple[int, ...], list[int]] = {}
    for label in sorted(layers_of):
        if label != STAYS:
            by_layers.setdefault(tuple(layers_of[label]), []).append(label)
    return [Width(torch.tensor(members), layers[0] / len(flow.layers)) for layers, members in by_layers.items()]


def level_at(levels: Sequence[float], depth: float) -> float:
    """Return the level of that part of a network: ``levels`` are of equal parts of its layers, in order."""
    return levels[int(depth * len(levels))]
