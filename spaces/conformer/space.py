"""The Conformer-CTC search space."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from torch import nn

from ..branches import BranchedConv, ConvShape, Topology
from ..errors import UserError
from ..space import TRAINING_PREFIX, Candidate, Choice, Float, Int, Parameter, SearchSpace
from .attention import Rotation, SelfAttention
from .block import ConformerBlock, ConvolutionModule
from .network import ConformerCTC, Subsampling

SUBSAMPLING_KERNEL = 3
STRIDE = 2


@dataclass(frozen=True)
class ConformerSpace(SearchSpace):
    """Depth, width, heads, kernels and branches of a Conformer that transcribes features (bands, frames).

    The input is a window of fixed length; the logits have the shape (batch, steps, tokens).
    """

    name: ClassVar[str] = "conformer_ctc"

    blocks: Int = Int(1, 8)
    width: Int = Int(16, 144, step=8)
    """Of the residual stream."""
    strides: Int = Int(1, 3)
    """Convolutions of stride 2 in front of the blocks: each halves the steps."""
    heads: Int = Int(1, 4)
    head_width: Choice = Choice((8, 16, 32))
    expansion: Choice = Choice((1, 2, 3, 4))
    """Hidden channels of a feed-forward step over the width."""
    kernel: Choice = Choice((3, 5, 7, 9, 11, 15))
    """Of the convolution over steps."""
    conv_branches: Int = Int(1, 4)
    """Of the convolution over steps and of those in front; branches cost nothing once they are fused."""
    pointwise: Choice = Choice((False, True))
    identity: Choice = Choice((False, True))
    dropout: Float = Float(0.0, 0.3)
    stochastic_depth: Float = Float(0.0, 0.5)
    """How often a batch in training passes the last block by; the first ones less often."""
    intermediate_weight: Float = Float(0.0, 0.5)
    """Of the answer from before the last block in training; above 0 a network can be cut at any depth afterwards."""
    learning_rate: Float = Float(3e-4, 1e-2, log=True)
    weight_decay: Float = Float(1e-5, 1e-1, log=True)

    def parameters(self) -> tuple[Parameter, ...]:
        of_the_network = (
            "blocks", "width", "strides", "heads", "head_width", "expansion", "kernel",
            "conv_branches", "pointwise", "identity", "dropout", "stochastic_depth", "intermediate_weight",
        )  # fmt: skip
        of_the_training = ("learning_rate", "weight_decay")
        return (
            *(Parameter(name, getattr(self, name)) for name in of_the_network),
            *(Parameter(TRAINING_PREFIX + name, getattr(self, name)) for name in of_the_training),
        )

    def has_heads(self) -> bool:
        return self.heads.high > 1

    def can_lose_blocks(self) -> bool:
        return True

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the untrained model: (batch, bands, frames) -> (batch, steps, classes), class 0 the blank."""
        if len(input_shape) != 2:
            raise UserError(f"space {self.name}: takes features (bands, frames), not inputs of shape {input_shape}")
        bands, frames = input_shape
        width, strides = candidate.integer("width"), candidate.integer("strides")
        topology = _topology(candidate)
        shapes = [
            ConvShape(width if index else bands, width, (1, SUBSAMPLING_KERNEL), stride=STRIDE)
            for index in range(strides)
        ]
        subsampling = Subsampling([BranchedConv(shape, topology) for shape in shapes])
        steps = ceil(frames / STRIDE**strides)
        blocks = [_block(candidate, width, topology) for _ in range(candidate.integer("blocks"))]
        return ConformerCTC(
            subsampling,
            Rotation(steps, candidate.integer("head_width")),
            blocks,
            nn.Linear(width, classes),
            intermediate_weight=float(candidate["intermediate_weight"]),
            stochastic_depth=float(candidate["stochastic_depth"]),
        )


def _block(candidate: Candidate, width: int, topology: Topology) -> ConformerBlock:
    attention = SelfAttention(width, candidate.integer("heads"), candidate.integer("head_width"))
    convolution = ConvolutionModule(width, width, candidate.integer("kernel"), topology)
    hidden = candidate.integer("expansion") * width
    return ConformerBlock(attention, convolution, width, hidden, float(candidate["dropout"]))


def _topology(candidate: Candidate) -> Topology:
    flags = {name: bool(candidate[name]) for name in ("pointwise", "identity")}
    return Topology(candidate.integer("conv_branches"), **flags)
