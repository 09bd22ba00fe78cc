"""A chain of layers cut into segments, a head behind each but the last, which ends in the network's own classifier.

Shape legend: n examples, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .network import POLICIES, MultiExit, Stage


class ExitChain(MultiExit):
    """Inputs (n, ...) -> the last logits (n, c).

    ``segments`` are one more than ``heads``; the last of them classifies by itself. With a ``detached`` backbone it is
    the network that it would be without exits.
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
        super().__init__(early_weight=early_weight, distillation=distillation, backbone=backbone, policies=policies)
        assert len(segments) == len(heads) + 1 and heads, (len(segments), len(heads))
        self.segments, self.heads = nn.ModuleList(segments), nn.ModuleList(heads)

    @property
    def exits(self) -> int:
        return len(self.segments)

    def forward(self, x: Tensor) -> Tensor:
        for segment in self.segments:
            x = segment(x)
        return x

    def answers(self, x: Tensor) -> tuple[Tensor, ...]:
        early = []
        for index, (segment, head) in enumerate(zip(self.segments, self.heads, strict=False)):
            x, seen = self._forked(segment(x), index)
            early.append(head(seen))
        return (*early, self.segments[-1](x))

    def stages(self) -> list[nn.Module]:
        early = (Stage(segment, head) for segment, head in zip(self.segments, self.heads, strict=False))
        return [*(stage.train(self.training) for stage in early), self.segments[-1]]
