"""DS-CNN: depthwise separable convolutions (Zhang et al. 2017, "Hello Edge", arXiv 1711.07128)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..mlperf_tiny import ds_cnn
from ..space import Candidate, Int, Parameter, SearchSpace
from .ends import as_image, bands_and_frames


@dataclass(frozen=True)
class DSCNN(SearchSpace):
    """The keyword spotter of MLPerf Tiny (width 64, four blocks), wider or narrower, deeper or shallower."""

    name: ClassVar[str] = "ds_cnn"

    width: Int = Int(8, 128, step=8)
    blocks: Int = Int(1, 6)

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("width", self.width), Parameter("blocks", self.blocks))

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        bands, frames = bands_and_frames(self.name, input_shape)
        width, blocks = candidate.integer("width"), candidate.integer("blocks")
        # MLPerf Tiny has its frames first: the same kernel, ten frames long.
        network = ds_cnn((1, bands, frames), classes, width, blocks, kernel=(4, 10))
        return nn.Sequential(*as_image(input_shape), *network)
