"""Widths: sets of channels that the same layers read and write, and how many of each a level of sparsity leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .flow import STAYS, Flow

WEIGHT, CHANNEL, HEAD = "weight", "channel", "head"
"""Granularities: what can be taken out by itself. A head goes as a channel does, for all its channels are tied."""


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


def widths_of(flow: Flow, granularity: str = CHANNEL) -> list[Width]:
    """Return the widths of a network in the order of their first channels; those of heads alone where that is asked."""
    labels = flow.labels()
    layers_of: dict[int, list[int]] = {}
    for index, layer in enumerate(flow.layers):
        for label in labels[torch.cat([layer.writes, layer.reads])].unique().tolist():
            layers_of.setdefault(label, []).append(index)
    by_layers: dict[tuple[int, ...], list[int]] = {}
    for label in sorted(layers_of):
        if label != STAYS:
            by_layers.setdefault(tuple(layers_of[label]), []).append(label)
    widths = [Width(torch.tensor(members), layers[0] / len(flow.layers)) for layers, members in by_layers.items()]
    if granularity != HEAD:
        return widths
    heads = torch.cat([labels[numbers].flatten() for numbers in flow.heads]) if flow.heads else labels[:0]
    return [width for width in widths if bool(torch.isin(width.labels, heads).all())]


def channels_of(widths: Sequence[Width]) -> Tensor:
    """Return the labels of all channels, one width after the other."""
    return torch.cat([torch.zeros(0, dtype=torch.long), *(width.labels for width in widths)])


def places_of(flow: Flow, widths: Sequence[Width]) -> Tensor:
    """Return for each number the place of its channel among those of all widths, one width after the other.

    The place beyond the last is that of all that stays.
    """
    channels = channels_of(widths)
    places = torch.full((flow.count,), len(channels))
    places[channels] = torch.arange(len(channels))
    return places[flow.labels()]


def level_at(levels: Sequence[float], depth: float) -> float:
    """Return the level of that part of a network: ``levels`` are of equal parts of its layers, in order."""
    return levels[int(depth * len(levels))]


def kept_at(widths: Sequence[Width], levels: Sequence[float]) -> list[int]:
    """Return how many channels of each width ``levels`` of sparsity leave; they are of equal parts of the depth."""
    return [width.kept(level_at(levels, width.depth)) for width in widths]
