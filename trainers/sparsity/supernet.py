"""One training for networks of several levels of sparsity, each inside the one before: a supernet.

After Omni-sparsity DNN (arXiv 2110.08352: masks are sampled while shared weights are trained, and networks extracted
afterwards), of which the abstract alone could be read, for channels. In a step the widest network learns, the narrowest
and one in between (the sandwich rule of universally slimmable networks, arXiv 1903.05134), all of them from labels: by
its answers to the others the widest one would itself be worse (benchmarks/LOG.md). Normalisations get the statistics of
each network when it is extracted, and factors of its own are to a network what normalisations of its own are to a
slimmable one (arXiv 1812.08928).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.sparsity.allocation import EachWidth
from ...spaces.sparsity.gates import Gates
from ...spaces.sparsity.widths import CHANNEL, Width
from ..losses import Loss
from ..normalisations import normalisations_of
from .channels import ChannelPruning
from .schedule import Schedule


class NestedGates(Gates):
    """Masks of several networks, each with a factor for each channel that it learns; one of them is ``shown``."""

    masks: Tensor
    shown = 0

    def __init__(self, widths: Sequence[Width], networks: int) -> None:
        super().__init__(widths)
        self.register_buffer("masks", self.mask.repeat(networks, 1))
        self.scales = nn.Parameter(torch.ones(networks, len(self.mask)))

    def factors(self) -> Tensor:
        return self.masks[self.shown] * self.scales[self.shown]


class Supernet(ChannelPruning):
    """Networks of ``levels``, the least first, that lose channels as one does by magnitude; in each step several learn.

    Each has the channels of the one before but for some, and for each of them a factor of its own.
    """

    _gates: NestedGates

    def __init__(self, levels: Sequence[float], schedule: Schedule, granularity: str = CHANNEL) -> None:
        assert len(levels) > 1 and list(levels) == sorted(levels), levels
        super().__init__(levels[:1], schedule, granularity=granularity)
        self._all_levels = tuple(levels)
        self.networks = len(levels)

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        super().start(model, examples, steps)
        costs, widths = self._allocation.costs, self._allocation.widths
        self._allocations = [EachWidth(costs, widths, (level,)) for level in self._all_levels]

    def _new_gates(self, widths: Sequence[Width]) -> Gates:
        return NestedGates(widths, self.networks)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [self._gates.scales], "lr": learning_rate, "weight_decay": 0.0}]

    def loss(self, task: Loss, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        loss = task(model, features, labels)
        if not self._schedule.share(self._step, self._steps):
            # They are all the same yet.
            return loss
        narrower = self._sampled()
        with statistics_left_alone(model):
            for network in narrower:
                self.show(network)
                loss = loss + task(model, features, labels)
        self.show(0)
        return loss / (1 + len(narrower))

    def _sampled(self) -> list[int]:
        """Return which networks learn beside the widest in this step: the narrowest, and one in between."""
        between = 1 + torch.randperm(self.networks - 2)[:1]
        return [*between.tolist(), self.networks - 1]

    def show(self, network: int) -> None:
        self._gates.shown = network

    def _close(self, share: float) -> None:
        """Leave each network as many channels as it may have by now: those of the narrower one, and then what weighs
        most of those that it still has."""
        scores, masks = self._channel_scores().cpu(), self._gates.masks
        inner = torch.zeros(len(scores), dtype=torch.bool)
        for network, allocation in reversed(list(enumerate(self._allocations))):
            own = torch.where(masks[network].cpu() > 0, scores, -torch.inf)
            inner = allocation.kept(torch.where(inner, torch.inf, own), share)
            masks[network] = inner


@contextmanager
def statistics_left_alone(model: nn.Module) -> Iterator[None]:
    """Let a model in training be run without a trace in what it is in eval mode: statistics are of one network."""
    norms = normalisations_of(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
