"""The RepCNN search space: small convolutional networks whose blocks train with branches and ship with none.

After RepCNN (arXiv 2406.02652), of which only the abstract could be read: the block form and the branch forms come from
the papers that it builds on (see ``kernels.py``), the stage plan is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, ClassVar, get_args

from torch import nn

from .branches import BranchedConv, ConvShape, Padding, Topology
from .chain import Chain
from .errors import UserError
from .space import TRAINING_PREFIX, Candidate, Choice, Float, Int, Parameter, SearchSpace
from .squeeze import Squeeze

STEM_KERNEL = 3


@dataclass(frozen=True)
class RepCNN(SearchSpace):
    """A stem and some stages of branched blocks, an average pool and a linear layer.

    Input (batch, bands, frames) is convolved over time, input (batch, channels, height, width) over both axes.
    """

    name: ClassVar[str] = "repcnn"

    form: Choice = Choice(("separable", "full"))
    """A depthwise and a pointwise branched convolution a block, or one full branched convolution."""
    stages: Int = Int(1, 4)
    width: Int = Int(4, 96, step=4)
    """Output channels of a stage."""
    blocks: Int = Int(1, 3)
    """Blocks of a stage; the first has the stage's stride."""
    kernel: Choice = Choice((3, 5, 7, 9, 11, 13))
    stride: Int = Int(1, 2)
    padding: Padding = "same"
    """Of all candidates; a ``causal`` network can be run hop by hop (see ``streaming.py``)."""
    conv_branches: Int = Int(1, 4)
    pointwise: Choice = Choice((False, True))
    identity: Choice = Choice((False, True))
    average: Choice = Choice((False, True))
    sequential: Choice = Choice((False, True))
    small: Choice = Choice((False, True))
    squeeze: Choice = Choice((False, True))
    """Squeeze and excitation after each block of the stage; the one of these that ships (see ``squeeze.py``)."""
    dropout: Float = Float(0.0, 0.3)
    """Before the linear layer."""
    learning_rate: Float = Float(5e-4, 2e-2, log=True)
    weight_decay: Float = Float(1e-5, 1e-1, log=True)

    def __post_init__(self) -> None:
        if self.padding not in get_args(Padding):
            raise UserError(f"space.padding: {self.padding!r} is not {' or '.join(get_args(Padding))}")

    def parameters(self) -> tuple[Parameter, ...]:
        parameters = [
            Parameter("form", self.form),
            Parameter("stages", self.stages),
            Parameter("dropout", self.dropout),
            Parameter(TRAINING_PREFIX + "learning_rate", self.learning_rate),
            Parameter(TRAINING_PREFIX + "weight_decay", self.weight_decay),
        ]
        of_a_stage = (
            "width", "blocks", "kernel", "stride",
            "conv_branches", "pointwise", "identity", "average", "sequential", "small", "squeeze",
        )  # fmt: skip
        for stage in range(1, self.stages.high + 1):
            parent: dict[str, Any] = {}
            if stage > self.stages.low:
                parent = {"parent": "stages", "parent_values": tuple(range(stage, self.stages.high + 1))}
            parameters += [
                Parameter(f"stage{stage}.{dimension}", getattr(self, dimension), **parent) for dimension in of_a_stage
            ]
        return tuple(parameters)

    def can_lose_blocks(self) -> bool:
        strided = 0 if self.stride.low == 1 else 1
        # Of all stages where they can have one width and one size of map, else of one.
        stages = 1 if strided else self.stages.high
        return False in self.squeeze.options and stages * (self.blocks.high - strided) > 1

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        layers: list[nn.Module] = []
        if len(input_shape) == 2:
            # One-dimensional convolutions are written as two-dimensional ones of height 1: in channels-last order they
            # train faster (benchmarks/LOG.md), and more runtimes have fast kernels for them.
            bands, frames = input_shape
            layers.append(nn.Unflatten(1, (bands, 1)))
            input_shape = (bands, 1, frames)
        in_channels, *spatial = input_shape
        width = candidate.integer("stage1.width")
        stem = ConvShape(in_channels, width, _kernel_size(STEM_KERNEL, spatial), padding=self.padding)
        layers += [BranchedConv(stem, _topology(candidate, 1)), nn.ReLU()]
        optional: list[range] = []
        block = _separable_block if candidate["form"] == "separable" else _full_block
        for stage in range(1, candidate.integer("stages") + 1):
            out_channels = candidate.integer(f"stage{stage}.width")
            kernel_size = _kernel_size(candidate.integer(f"stage{stage}.kernel"), spatial)
            topology = _topology(candidate, stage)
            for index in range(candidate.integer(f"stage{stage}.blocks")):
                stride = candidate.integer(f"stage{stage}.stride") if index == 0 else 1
                shape = ConvShape(
                    width,
                    out_channels,
                    kernel_size,
                    stride=stride,
                    padding=self.padding,
                    input_size=tuple(spatial),
                )
                own = block(shape, topology)
                # Squeeze and excitation is no convolution that could become the identity.
                if shape.keeps_shape and not candidate[f"stage{stage}.squeeze"]:
                    optional.append(range(len(layers), len(layers) + len(own)))
                layers += own
                spatial = [ceil(size / stride) for size in spatial]
                width = out_channels
                if candidate[f"stage{stage}.squeeze"]:
                    layers.append(Squeeze(width, (spatial[0], spatial[1]), causal=self.padding == "causal"))
        # A pool of fixed size, not a mean: several runtimes do not delegate means.
        pool = nn.AvgPool2d((spatial[0], spatial[1]))
        dropout = nn.Dropout(float(candidate["dropout"]))
        return Chain(*layers, pool, nn.Flatten(), dropout, nn.Linear(width, classes), blocks=optional)


def _kernel_size(size: int, spatial: list[int]) -> tuple[int, int]:
    """Return a square kernel, or a flat one where the input has height 1."""
    return (1 if spatial[0] == 1 else size, size)


def _topology(candidate: Candidate, stage: int) -> Topology:
    names = ("pointwise", "identity", "average", "sequential", "small")
    flags = {name: bool(candidate[f"stage{stage}.{name}"]) for name in names}
    return Topology(candidate.integer(f"stage{stage}.conv_branches"), **flags)


def _separable_block(shape: ConvShape, topology: Topology) -> list[nn.Module]:
    depthwise = replace(shape, out_channels=shape.in_channels, groups=shape.in_channels)
    pointwise = ConvShape(shape.in_channels, shape.out_channels, (1,) * shape.spatial_dims)
    # Of a 1x1 convolution, the other branches would only be copies under another name.
    mixing = Topology(topology.conv, identity=topology.identity)
    return [BranchedConv(depthwise, topology), nn.ReLU(), BranchedConv(pointwise, mixing), nn.ReLU()]


def _full_block(shape: ConvShape, topology: Topology) -> list[nn.Module]:
    return [BranchedConv(shape, topology), nn.ReLU()]
