"""TC-ResNet8: temporal convolution, bands as channels (Choi et al. 2019, arXiv 1904.03814)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..layers import Residual, normed_conv
from ..space import Candidate, Choice, Parameter, SearchSpace
from .ends import as_line, bands_and_frames, pool_and_classify

_CHANNELS = (16, 24, 32, 48)


@dataclass(frozen=True)
class TCResNet8(SearchSpace):
    """TC-ResNet8 with its width multiplier: three residual blocks of kernel 9, each at half the frames of the last."""

    name: ClassVar[str] = "tc_resnet8"

    multiplier: Choice = Choice((0.25, 0.5, 0.75, 1.0, 1.5, 2.0))

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("multiplier", self.multiplier),)

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        bands, frames = bands_and_frames(self.name, input_shape)
        read, *widths = (int(channels * float(candidate["multiplier"])) for channels in _CHANNELS)
        layers: list[nn.Module] = [*as_line(bands), normed_conv(bands, read, (1, 3)), nn.ReLU()]
        for width in widths:
            first = normed_conv(read, width, (1, 9), stride=(1, 2))
            shortcut = nn.Sequential(normed_conv(read, width, (1, 1), stride=(1, 2)), nn.ReLU())
            layers.append(Residual(first, normed_conv(width, width, (1, 9)), shortcut))
            read, frames = width, -(-frames // 2)
        return nn.Sequential(*layers, *pool_and_classify(read, frames, classes, dropout=0.5))
