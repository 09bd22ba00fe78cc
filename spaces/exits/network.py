"""A chain of layers cut into segments, a head behind each but the last, which ends in the network's own classifier.

After BranchyNet (arXiv 1709.01686) and PersEPhonEE (arXiv 2102.01393); of the latter only the abstract could be read.

Shape legend: n examples, e exits (the last one included), c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..early import AnswersEarly
from ..fusion import FusionReport, compare, fuse
from .balance import balanced

POLICIES = ("confidence", "entropy", "patience")
BACKBONES = ("joint", "balanced", "detached")


class Stage(nn.Module):
    """What runs between two exits: the map of the one before -> the map and the logits (n, c) of the next."""

    def __init__(self, segment: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.segment, self.head = segment, head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.segment(x)
        return hidden, self.head(hidden)


class MultiExit(AnswersEarly):
    """Inputs (n, ...) -> the last logits (n, c); :meth:`answers` has those of every exit.

    ``segments`` are one more than ``heads``; the last of them classifies by itself.
    """

    def __init__(
        self,
        segments: Sequence[nn.Sequential],
        heads: Sequence[nn.Module],
        *,
        early_weight: float = 0.5,
        distillation: float = 0.0,
        backbone: str = "joint",
        policies: Sequence[str] = POLICIES,
    ) -> None:
        """``early_weight`` is the share of the loss that the early exits have together.

        ``distillation`` is the share of an early exit's loss that it takes from the last exit's answers instead of
        from labels. ``backbone``, one of ``BACKBONES``, says what early exits teach the layers before their heads: all
        that they have to (``joint``), no more than their share (``balanced``), nothing (``detached``: the rest is the
        network that it would be without exits). ``policies`` are those that may tell, once it is trained, when an exit
        is sure.
        """
        super().__init__()
        assert len(segments) == len(heads) + 1 and heads, (len(segments), len(heads))
        self.segments, self.heads = nn.ModuleList(segments), nn.ModuleList(heads)
        self.early_weight, self.distillation, self.backbone = early_weight, distillation, backbone
        self.policies = tuple(policies)

    @property
    def exits(self) -> int:
        """How many there are, the last one included."""
        return len(self.segments)

    def forward(self, x: Tensor) -> Tensor:
        for segment in self.segments:
            x = segment(x)
        return x

    def answers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (n, c) of every exit, the earliest first."""
        early = []
        for index, (segment, head) in enumerate(zip(self.segments, self.heads, strict=False)):
            x, seen = self._forked(segment(x), index)
            early.append(head(seen))
        return (*early, self.segments[-1](x))

    def _forked(self, x: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Return what goes on behind an early exit, and what its head sees: the same but for gradients."""
        if not self.training or self.backbone == "joint":
            return x, x
        if self.backbone == "detached":
            return x, x.detach()
        share = self.early_weight / len(self.heads)
        behind = 1.0 - share * (index + 1)
        return balanced(x, share / behind)

    def weighted_answers(self, x: Tensor) -> tuple[tuple[float, Tensor], ...]:
        """Return the weighted answers of BranchyNet's joint loss, ``sum_i w_i CE_i`` (equation 1), the last first."""
        *early, last = self.answers(x)
        share = self.early_weight / len(early)
        return ((1.0 - self.early_weight, last), *((share, logits) for logits in early))

    def stages(self) -> list[nn.Module]:
        """Return what runs one after the other until an exit is sure: a :class:`Stage` for each early exit, then the
        last segment, which gives the last logits. They share the network's weights."""
        early = (Stage(segment, head) for segment, head in zip(self.segments, self.heads, strict=False))
        return [*(stage.train(self.training) for stage in early), self.segments[-1]]


class AllAnswers(nn.Module):
    """Inputs (n, ...) -> the logits of every exit, (n, e, c); of a network without exits what it gives itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(self.network.answers(x), dim=1) if isinstance(self.network, MultiExit) else self.network(x)


def fuse_all_answers(model: nn.Module, inputs: Tensor) -> tuple[nn.Module, FusionReport]:
    """Return what :func:`~repareto.spaces.fusion.fuse` does, with every exit compared where there are exits."""
    fused, report = fuse(AllAnswers(model), inputs)
    return cast(AllAnswers, fused).network, report


def compare_all_answers(model: nn.Module, shipped: nn.Module, inputs: Tensor) -> FusionReport:
    """Return what :func:`~repareto.spaces.fusion.compare` does, of every exit where there are exits."""
    return compare(AllAnswers(model), AllAnswers(shipped), inputs)
