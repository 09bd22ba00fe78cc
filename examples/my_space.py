"""A search space of your own: one Python class, named in the config by its import path (see my_space.yaml).

It needs three things: dimensions, the parameters made of them, and a function that builds the model of a candidate.
What is built from branched blocks is fused before it is profiled, scored and exported.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from repareto.spaces import BranchedConv, Candidate, Choice, ConvShape, Float, Int, Parameter, SearchSpace, Topology


@dataclass(frozen=True)
class TwoLayers(SearchSpace):
    """Two branched convolutions and a linear layer, for images."""

    name: ClassVar[str] = "two-layers"

    width: Int = Int(4, 32, step=4)
    branches: Int = Int(1, 3)
    squeeze: Choice = Choice(("average", "maximum"))
    learning_rate: Float = Float(1e-3, 1e-2, log=True)

    def parameters(self) -> tuple[Parameter, ...]:
        return (
            Parameter("width1", self.width),
            Parameter("width2", self.width),
            Parameter("branches", self.branches),
            # Exists only where there is more than one branch.
            Parameter("pointwise", Choice((False, True)), parent="branches", parent_values=(2, 3)),
            Parameter("squeeze", self.squeeze),
            # A name "training.X" sets the trainer's setting X for the candidate.
            Parameter("training.learning_rate", self.learning_rate),
        )

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = input_shape
        first, second = candidate.integer("width1"), candidate.integer("width2")
        topology = Topology(candidate.integer("branches"), pointwise=bool(candidate.get("pointwise", False)))
        pool = nn.AvgPool2d if candidate["squeeze"] == "average" else nn.MaxPool2d
        return nn.Sequential(
            BranchedConv(ConvShape(channels, first, (3, 3), stride=2), topology),
            nn.ReLU(),
            BranchedConv(ConvShape(first, second, (3, 3)), topology),
            nn.ReLU(),
            pool(((height + 1) // 2, (width + 1) // 2)),
            nn.Flatten(),
            nn.Linear(second, classes),
        )
