"""A Conformer whose blocks may answer: exits by intermediate CTC.

What intermediate CTC trains (Lee and Watanabe 2021, arXiv 2102.03216) is an answer behind each of some blocks, by the
last layer that they all share; here such an answer ends the computation where it is sure, as in early-exit networks for
speech (HuBERT-EE, arXiv 2204.06328; of it the abstract alone was known).

Shape legend: n examples, b bands, t frames, s steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..conformer.attention import Rotation
from ..conformer.network import ConformerCTC
from .network import MultiExit, Stage

SHARED, OWN = "shared", "own"
CTC_HEADS = (SHARED, OWN)
"""Of an early exit: the network's last layer, or a linear layer for itself."""
CTC_POLICIES = ("confidence", "entropy")
"""Whether exits agree is asked of classes: transcripts shift by steps from block to block."""


class ConformerExits(MultiExit):
    """Features (n, b, t) -> the last logits (n, s, tokens), where token 0 is CTC's blank."""

    def __init__(
        self,
        network: ConformerCTC,
        heads: Mapping[int, nn.Linear | None],
        *,
        distillation: float = 0.0,
        backbone: str = "joint",
        policies: Sequence[str] = CTC_POLICIES,
    ) -> None:
        """``heads`` says behind which blocks, counted from 1, it answers and by what: None is its last layer.

        Early answers weigh what the network's intermediate ones do. A shared head learns from all exits, also where
        the ``backbone`` is ``detached``.
        """
        weight = network.intermediate_weight
        super().__init__(early_weight=weight, distillation=distillation, backbone=backbone, policies=policies)
        assert heads and all(1 <= depth < len(network.blocks) for depth in heads), (list(heads), len(network.blocks))
        self.network = network
        self.depths = tuple(sorted(heads))
        self.heads = nn.ModuleDict({str(depth): own for depth, own in heads.items() if own is not None})

    @property
    def exits(self) -> int:
        return len(self.depths) + 1

    def forward(self, features: Tensor) -> Tensor:
        return self.network(features)

    def answers(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.network.subsampling(x)
        early: list[Tensor] = []
        for number in range(1, len(self.network.blocks) + 1):
            x = self.network.behind_block(number, x)
            if number in self.depths:
                x, seen = self._forked(x, len(early))
                early.append(self._head(number)(seen))
        return (*early, self.network.head(x))

    def stages(self) -> list[nn.Module]:
        network, ends = self.network, (0, *self.depths, len(self.network.blocks))
        segments = [
            Segment(nn.Identity() if start else network.subsampling, network.rotation, network.blocks[start:end])
            for start, end in pairwise(ends)
        ]
        early = [Stage(segment, self._head(depth)) for segment, depth in zip(segments, self.depths, strict=False)]
        return [stage.train(self.training) for stage in (*early, nn.Sequential(segments[-1], network.head))]

    def _head(self, depth: int) -> nn.Module:
        own = str(depth)
        if own in self.heads:
            return self.heads[own]
        return self.network.head


class Segment(nn.Module):
    """What runs between two exits in eval mode: some blocks, and before the first of them what subsamples."""

    def __init__(self, before: nn.Module, rotation: Rotation, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.before, self.rotation, self.blocks = before, rotation, blocks

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        for block in self.blocks:
            x = block(x, self.rotation)
        return x
