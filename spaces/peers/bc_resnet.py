"""BC-ResNet: broadcasted residual learning (Kim et al. 2021, arXiv 2106.04140).

Details that the paper leaves open are those of its authors' published implementation (Qualcomm AI Research, bcresnet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..branches import Fusable, statistics_of
from ..errors import UserError
from ..layers import normed_conv
from ..space import Candidate, Int, Parameter, SearchSpace
from .ends import as_image, bands_and_frames

SUB_BANDS = 5
_BLOCKS = (2, 2, 4, 4)
_HALVED_STAGES = (1, 2)
# The stem and two of the stages halve the bands, and each of the sub-bands keeps at least one.
_BANDS = 8 * SUB_BANDS


class ScaleAndShift(nn.Module):
    """A factor and a summand for each channel and band, each of shape (1, channels, bands, 1)."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class SubSpectralNorm(Fusable):
    """Batch normalisation of each channel's sub-bands apart (Chang et al. 2021, arXiv 2103.13620).

    Takes and gives (batch, channels, bands, frames); ``bands`` is a multiple of ``SUB_BANDS``.
    """

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.channels, self.bands = channels, bands
        self.norm = nn.BatchNorm2d(channels * SUB_BANDS)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, _, frames = x.shape
        split = x.reshape(batch, self.channels * SUB_BANDS, self.bands // SUB_BANDS, frames)
        return self.norm(split).reshape(x.shape)

    def fused(self) -> nn.Module:
        """Return the factors and summands: they differ along the bands, so that no convolution takes them in."""
        found = statistics_of(self.norm)
        scale = found.weight / torch.sqrt(found.variance + found.eps)
        shift = found.bias - found.mean * scale
        dtype = self.norm.weight.dtype
        return ScaleAndShift(self._by_band(scale).to(dtype), self._by_band(shift).to(dtype))

    def _by_band(self, by_sub_band: Tensor) -> Tensor:
        repeated = by_sub_band.reshape(self.channels, SUB_BANDS).repeat_interleave(self.bands // SUB_BANDS, dim=1)
        return repeated.reshape(1, self.channels, self.bands, 1)


class BroadcastedResidual(nn.Module):
    """``y = relu(x + f2(x) + broadcast(f1(average over bands of f2(x))))`` (equation 3; without ``x`` where the width
    changes)."""

    def __init__(self, read: int, written: int, bands: int, band_stride: int, dilation: int) -> None:
        super().__init__()
        self.keeps_width = read == written
        bands_out = -(-bands // band_stride)
        mix = [] if self.keeps_width else [normed_conv(read, written, (1, 1)), nn.ReLU()]
        over_bands = nn.Conv2d(
            written, written, (3, 1), stride=(band_stride, 1), padding=(1, 0), groups=written, bias=False
        )
        self.two_dimensional = nn.Sequential(*mix, over_bands, SubSpectralNorm(written, bands_out))
        self.one_dimensional = nn.Sequential(
            nn.AvgPool2d((bands_out, 1)),
            normed_conv(written, written, (1, 3), dilation=(1, dilation), groups=written),
            nn.SiLU(),
            nn.Conv2d(written, written, 1, bias=False),
            nn.Dropout2d(0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.two_dimensional(x)
        y = inner + self.one_dimensional(inner)
        return torch.relu(y + x if self.keeps_width else y)


@dataclass(frozen=True)
class BCResNet(SearchSpace):
    """BC-ResNet-tau, ``width`` = 8 tau channels: features of a multiple of 40 bands."""

    name: ClassVar[str] = "bc_resnet"

    width: Int = Int(8, 64, step=4)

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("width", self.width),)

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        bands, frames = bands_and_frames(self.name, input_shape)
        if bands % _BANDS:
            raise UserError(
                f"space bc_resnet: {bands} bands cannot be split into {SUB_BANDS} sub-bands in every stage "
                f"(give a multiple of {_BANDS})"
            )
        base = candidate.integer("width")
        widths = [base, int(1.5 * base), 2 * base, int(2.5 * base)]
        read = 2 * base
        layers: list[nn.Module] = [*as_image(input_shape), normed_conv(1, read, (5, 5), stride=(2, 1)), nn.ReLU()]
        bands //= 2
        for stage, (width, blocks) in enumerate(zip(widths, _BLOCKS, strict=True)):
            for block in range(blocks):
                stride = 2 if stage in _HALVED_STAGES and block == 0 else 1
                layers.append(BroadcastedResidual(read, width, bands, stride, dilation=2**stage))
                read, bands = width, bands // stride
        head = nn.Conv2d(read, read, (5, 5), padding=(0, 2), groups=read, bias=False)
        pool = nn.AvgPool2d((bands - 4, frames))
        classify = [normed_conv(read, 4 * base, (1, 1)), nn.ReLU(), pool, nn.Conv2d(4 * base, classes, 1), nn.Flatten()]
        return nn.Sequential(*layers, head, *classify)
