"""One block of the Conformer, of layers that are plain wherever something is to be cut out later.

Shape legend: n examples, s steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..branches import BranchedConv, ConvShape, Topology
from .attention import Rotation, SelfAttention

PARTS = ("first", "attention", "convolution", "second")


class FeedForward(nn.Module):
    """(n, s, width) -> (n, s, width) through ``hidden`` channels."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand, self.output = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(F.silu(self.expand(x))))


class ConvolutionModule(nn.Module):
    """(n, s, width) -> (n, s, width): a gated pointwise layer, a branched depthwise convolution over steps, a
    pointwise layer.

    The gated linear unit is two layers, ``value`` and ``gate``, rather than one that is split, so that channel c is row
    c of both. ``value`` has no bias: a channel whose row is zero gives zeros, at the border of the convolution too, and
    can go. The convolution's batch normalisations fold into its one kernel at fusion.
    """

    def __init__(self, width: int, channels: int, kernel: int, topology: Topology) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, channels, bias=False), nn.Linear(width, channels)
        self.depthwise = BranchedConv(ConvShape(channels, channels, (1, kernel), groups=channels), topology)
        self.output = nn.Linear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        gated = self.value(x) * torch.sigmoid(self.gate(x))
        # A line as an image of height 1: more runtimes have fast kernels for that.
        line = F.silu(self.depthwise(gated.transpose(1, 2).unsqueeze(2)))
        # Contiguous, so that what follows is one product of matrices for all examples.
        return self.output(line.squeeze(2).transpose(1, 2).contiguous())


class ConformerBlock(nn.Module):
    """(n, s, width) -> (n, s, width): half a feed-forward step, attention, convolution, half a step (section 2.4).

    Each part reads a normalised copy of the residual stream and adds to it, and can be left out; the block's own
    normalisation is last.
    """

    def __init__(
        self, attention: SelfAttention, convolution: ConvolutionModule, width: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.first, self.second = FeedForward(width, hidden, dropout), FeedForward(width, hidden, dropout)
        self.attention, self.convolution = attention, convolution
        self.first_norm, self.attention_norm, self.convolution_norm, self.second_norm, self.norm = (
            nn.LayerNorm(width) for _ in range(5)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        if hasattr(self, "first"):
            x = x + 0.5 * self.dropout(self.first(self.first_norm(x)))
        if hasattr(self, "attention"):
            x = x + self.dropout(self.attention(self.attention_norm(x), rotation))
        if hasattr(self, "convolution"):
            x = x + self.dropout(self.convolution(self.convolution_norm(x)))
        if hasattr(self, "second"):
            x = x + 0.5 * self.dropout(self.second(self.second_norm(x)))
        return self.norm(x)

    def optional_parts(self) -> dict[str, tuple[str, str]]:
        """Return the parts that are there, each with the names of its modules."""
        return {part: (f"{part}_norm", part) for part in PARTS if hasattr(self, part)}

    def leave_out(self, part: str) -> None:
        """Go on without a part."""
        for name in self.optional_parts()[part]:
            delattr(self, name)
