"""One training for networks of several levels of sparsity, each inside the one before: a supernet.

After Omni-sparsity DNN (arXiv 2110.08352: masks are sampled while shared weights are trained, and networks extracted
afterwards), of which the abstract alone could be read, for channels. What is trained in a step follows universally
slimmable networks (arXiv 1903.05134): the widest network learns from labels, the narrowest and one in between from its
answers, and normalisations get the statistics of each network when it is extracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...spaces.sparsity.allocation import EachWidth
from ...spaces.sparsity.widths import CHANNEL
from ..losses import Loss, answers_of
from ..normalisations import normalisations_of
from .channels import ChannelPruning
from .schedule import OneShot

RANKED_AT = 0.1
"""Share of training after which it is decided which channels each network has."""


class Supernet(ChannelPruning):
    """Gates that are shut as each of ``levels``, the least first, asks, one network after the other in each step."""

    def __init__(self, levels: Sequence[float], granularity: str = CHANNEL) -> None:
        assert len(levels) > 1 and list(levels) == sorted(levels), levels
        super().__init__(levels[:1], OneShot(RANKED_AT), granularity=granularity)
        self._all_levels = tuple(levels)
        self.networks = len(levels)

    def start(self, model: nn.Module, examples: Tensor, steps: int) -> None:
        super().start(model, examples, steps)
        self._masks = self._gates.mask.repeat(self.networks, 1)
        self._are_ranked = False

    def loss(self, task: Loss, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        answers = answers_of(model, features)
        loss = task.of_answers(model, answers, labels)
        if not self._are_ranked:
            return loss
        narrower = self._sampled()
        with statistics_left_alone(model):
            for network in narrower:
                self.show(network)
                loss = loss + task.divergence(model(features), answers[0][1], labels)
        self.show(0)
        return loss / (1 + len(narrower))

    def _sampled(self) -> list[int]:
        """Return which networks learn beside the widest in this step: the narrowest, and one in between."""
        between = 1 + torch.randperm(self.networks - 2)[:1]
        return [*between.tolist(), self.networks - 1]

    def show(self, network: int) -> None:
        self._gates.mask.copy_(self._masks[network])

    def _close(self, share: float) -> None:
        """Give each network the channels that weigh most, of those that the one before it has."""
        del share
        scores = self._channel_scores().cpu()
        for network, level in enumerate(self._all_levels):
            kept = EachWidth(self._allocation.costs, self._allocation.widths, (level,)).kept(scores, 1.0)
            self._masks[network] = kept
            scores = torch.where(kept, scores, -torch.inf)
        self._are_ranked = True
        self.show(0)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "masks": self._masks, "are_ranked": self._are_ranked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._masks, self._are_ranked = state["masks"].to(self._masks.device), state["are_ranked"]


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
