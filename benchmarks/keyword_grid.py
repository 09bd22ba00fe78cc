"""A grid of RepCNNs small enough that all of them can be trained: what searches are compared on.

Four commands, "unknown" and "silence" from a speech synthesiser; most clips judge and few train, so that a training
takes seconds and the noise of an error is small. ``python -m benchmarks.keyword_table`` trains them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from torch import nn

from repareto.spaces.branches import Topology
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Candidate, Choice, Int, Parameter, SearchSpace
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.supervised import TrainingConfig

WORDS = ("yes", "no", "up", "down")
CLIPS = 6000
TRAINING_CLIPS = 1024
TRAINING = TrainingConfig(epochs=9, batch_size=64)
TOPOLOGIES = {"1conv": Topology(conv=1), "3conv+1x1+skip": Topology(conv=3, pointwise=True, identity=True)}


@dataclass(frozen=True)
class KeywordGrid(SearchSpace):
    """Two stages of separable blocks, the second of stride 2: seven dimensions, 512 candidates, 128 fused graphs."""

    name: ClassVar[str] = "keyword_grid"

    width: Int = Int(8, 32, step=8)
    """Output channels of a stage."""
    blocks: Int = Int(1, 2)
    kernel: Choice = Choice((3, 9))
    stride: Int = Int(1, 2)
    """Of the first stage."""
    topology: Choice = Choice(tuple(TOPOLOGIES))
    learning_rate: Choice = Choice((4e-3, 1.6e-2))

    def parameters(self) -> tuple[Parameter, ...]:
        return (
            Parameter("width1", self.width),
            Parameter("width2", self.width),
            Parameter("blocks", self.blocks),
            Parameter("kernel", self.kernel),
            Parameter("stride", self.stride),
            Parameter("topology", self.topology),
            Parameter("training.learning_rate", self.learning_rate),
        )

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        topology = TOPOLOGIES[str(candidate["topology"])]
        values: dict[str, Any] = {
            "form": "separable", "stages": 2, "dropout": 0.0,
            "training.learning_rate": candidate["training.learning_rate"],
            "training.weight_decay": TRAINING.weight_decay,
        }  # fmt: skip
        for stage, stride in ((1, candidate["stride"]), (2, 2)):
            values |= {
                f"stage{stage}.width": candidate[f"width{stage}"], f"stage{stage}.blocks": candidate["blocks"],
                f"stage{stage}.kernel": candidate["kernel"], f"stage{stage}.stride": stride,
                f"stage{stage}.conv_branches": topology.conv, f"stage{stage}.pointwise": topology.pointwise,
                f"stage{stage}.identity": topology.identity, f"stage{stage}.average": False,
                f"stage{stage}.sequential": False, f"stage{stage}.small": False, f"stage{stage}.squeeze": False,
            }  # fmt: skip
        space = RepCNN()
        return space.build(space.candidate(values), input_shape, classes)


@cache
def keyword_data() -> Dataset:
    """Return the clips; of those that train every n-th, which are of all words and voices."""
    data = Synthetic(words=WORDS, clips=CLIPS).load(seed=0)
    chosen = np.random.default_rng(0).permutation(len(data.train))[:TRAINING_CLIPS]
    return replace(data, train=Split(data.train.features[chosen], data.train.labels[chosen]))
