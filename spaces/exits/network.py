"""Networks that may answer before their last layer: what they share, whatever their layers are.

After BranchyNet (arXiv 1709.01686) and PersEPhonEE (arXiv 2102.01393); of the latter only the abstract could be read.

Shape legend: n examples, e exits (the last one included), *steps of a transcriber, none of a classifier, c classes.
"""

from __future__ import annotations

from abc import abstractmethod
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
    """What runs between two exits: the map of the one before -> the map and the logits of the next."""

    def __init__(self, segment: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.segment, self.head = segment, head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.segment(x)
        return hidden, self.head(hidden)


class MultiExit(AnswersEarly):
    """Inputs (n, ...) -> the last answer, logits (n, *steps, c); :meth:`answers` has those of every exit.

    A classifier has no axis of steps. Whose layers they are, and what heads, says a subclass.
    """

    def __init__(self, *, early_weight: float, distillation: float, backbone: str, policies: Sequence[str]) -> None:
        """``early_weight`` is the share of the loss that the early exits have together.

        ``distillation`` is the share of an early exit's loss that it takes from the last exit's answers instead of
        from labels. ``backbone``, one of ``BACKBONES``, says what early exits teach the layers before their heads: all
        that they have to (``joint``), no more than their share (``balanced``), nothing (``detached``). ``policies`` are
        those that may tell, once it is trained, when an exit is sure.
        """
        super().__init__()
        self.early_weight, self.distillation, self.backbone = early_weight, distillation, backbone
        self.policies = tuple(policies)

    @property
    @abstractmethod
    def exits(self) -> int:
        """How many there are, the last one included."""

    @abstractmethod
    def answers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (n, *steps, c) of every exit, the earliest first."""

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return what runs one after the other until an exit is sure: a :class:`Stage` for each early exit, then what
        gives the last logits. They share the network's weights."""

    def weighted_answers(self, x: Tensor) -> tuple[tuple[float, Tensor], ...]:
        """Return the weighted answers of BranchyNet's joint loss, ``sum_i w_i L_i`` (equation 1), the last first."""
        *early, last = self.answers(x)
        share = self.early_weight / len(early)
        return ((1.0 - self.early_weight, last), *((share, logits) for logits in early))

    def _forked(self, x: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Return what goes on behind an early exit, and what its head sees: the same but for gradients."""
        if not self.training or self.backbone == "joint":
            return x, x
        if self.backbone == "detached":
            return x, x.detach()
        share = self.early_weight / (self.exits - 1)
        behind = 1.0 - share * (index + 1)
        return balanced(x, share / behind)


class AllAnswers(nn.Module):
    """Inputs (n, ...) -> the logits of every exit, (n, e, *steps, c); of a network without exits what it gives."""

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
