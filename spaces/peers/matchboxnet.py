"""MatchboxNet: 1-D time-channel separable convolutions (Majumdar and Ginsburg 2020, arXiv 2004.08531)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..layers import normed_conv
from ..space import Candidate, Int, Parameter, SearchSpace
from .ends import as_line, bands_and_frames, pool_and_classify

_FIRST_KERNEL, _KERNEL_STEP = 13, 2
_OUTER = 128
_DROPOUT = 0.1


class SeparableResidual(nn.Module):
    """``repeats`` separable convolutions beside a normed 1x1 convolution (figure 1 of the paper)."""

    def __init__(self, read: int, written: int, kernel: int, repeats: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(repeats):
            layers += _separable(read if index == 0 else written, written, kernel)
            if index < repeats - 1:
                layers += [nn.ReLU(), nn.Dropout(dropout)]
        self.body, self.shortcut = nn.Sequential(*layers), normed_conv(read, written, (1, 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(torch.relu(self.body(x) + self.shortcut(x)))


@dataclass(frozen=True)
class MatchboxNet(SearchSpace):
    """MatchboxNet-BxRxC: ``blocks`` residual blocks of ``repeats`` separable convolutions of ``width`` channels."""

    name: ClassVar[str] = "matchboxnet"

    blocks: Int = Int(1, 6)
    repeats: Int = Int(1, 3)
    width: Int = Int(16, 112, step=16)

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("blocks", self.blocks), Parameter("repeats", self.repeats), Parameter("width", self.width))

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        bands, frames = bands_and_frames(self.name, input_shape)
        width = candidate.integer("width")
        layers = [*as_line(bands), *_separable(bands, _OUTER, 11), nn.ReLU()]
        read = _OUTER
        for block in range(candidate.integer("blocks")):
            kernel = _FIRST_KERNEL + _KERNEL_STEP * block
            layers.append(SeparableResidual(read, width, kernel, candidate.integer("repeats"), _DROPOUT))
            read = width
        layers += [*_separable(read, _OUTER, 29, dilation=2), nn.ReLU()]
        layers += [normed_conv(_OUTER, _OUTER, (1, 1)), nn.ReLU()]
        return nn.Sequential(*layers, *pool_and_classify(_OUTER, frames, classes, _DROPOUT))


def _separable(read: int, written: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    """Return a depthwise convolution and a normed pointwise one; no normalisation stands between them."""
    reach = dilation * (kernel - 1) // 2
    depthwise = nn.Conv2d(read, read, (1, kernel), padding=(0, reach), dilation=(1, dilation), groups=read, bias=False)
    return [depthwise, normed_conv(read, written, (1, 1))]
