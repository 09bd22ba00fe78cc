"""Mixed depthwise kernels over time, in the style of microWakeWord's MixedNet (Kevin Ahrendt, github.com/kahrendt).

After MixConv (Tan and Le 2019, arXiv 1907.09595). What differs from MixedNet: windows are padded with zeros in place of
dropped frames, and there is a class for each label in place of one score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..layers import Grouped, normed_conv
from ..space import Candidate, Int, Parameter, SearchSpace
from .ends import as_line, bands_and_frames, pool_and_classify

# Of the models that ship with microWakeWord.
_KERNELS = ((5,), (7, 11), (9, 15), (23,))


@dataclass(frozen=True)
class MixedKernels(SearchSpace):
    """A strided stem and ``blocks`` blocks of ``width`` channels, in groups with kernels of different lengths."""

    name: ClassVar[str] = "mixed_kernels"

    width: Int = Int(16, 96, step=8)
    blocks: Int = Int(1, len(_KERNELS))
    stride: Int = Int(1, 3)
    """Of the stem, over time."""

    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter(name, getattr(self, name)) for name in ("width", "blocks", "stride"))

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        bands, frames = bands_and_frames(self.name, input_shape)
        width, stride = candidate.integer("width"), candidate.integer("stride")
        read = width // 2
        stem = nn.Conv2d(bands, read, (1, 5), stride=(1, stride), padding=(0, 2), bias=False)
        layers: list[nn.Module] = [*as_line(bands), stem, nn.ReLU()]
        for kernels in _KERNELS[: candidate.integer("blocks")]:
            layers += [_mixed(read, kernels), normed_conv(read, width, (1, 1)), nn.ReLU()]
            read = width
        return nn.Sequential(*layers, *pool_and_classify(read, -(-frames // stride), classes, dropout=0.1))


def _mixed(channels: int, kernels: tuple[int, ...]) -> nn.Module:
    """Return depthwise convolutions of the channels in equal groups, each with a kernel of its own."""
    sizes = [channels // len(kernels)] * len(kernels)
    sizes[0] += channels - sum(sizes)
    layers: list[nn.Module] = [
        nn.Conv2d(size, size, (1, kernel), padding=(0, kernel // 2), groups=size, bias=False)
        for size, kernel in zip(sizes, kernels, strict=True)
    ]
    return layers[0] if len(layers) == 1 else Grouped(sizes, layers)
