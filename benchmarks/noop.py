"""Trials that do nothing, in repareto; the peer's are in ``noop_peer.py``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import nn

from repareto.search.records import EpochPoint, Measurement
from repareto.search.worker import CandidateTrainable
from repareto.spaces.space import Candidate, Choice, Float, Int, Parameter, SearchSpace

from .noop_parameters import FLAGS, RATES, WIDTHS


@dataclass(frozen=True)
class NoopSpace(SearchSpace):
    """Four widths, two rates, two flags; a small network, so that budgets are really checked."""

    name: ClassVar[str] = "noop"

    width: Int = Int(4, 64)
    rate: Float = Float(1e-4, 1e-1, log=True)
    flag: Choice = Choice((False, True))

    def parameters(self) -> tuple[Parameter, ...]:
        return (
            *(Parameter(f"width{index}", self.width) for index in range(WIDTHS)),
            *(Parameter(f"rate{index}", self.rate) for index in range(RATES)),
            *(Parameter(f"flag{index}", self.flag) for index in range(FLAGS)),
        )

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        width = input_shape[0] * input_shape[1] * input_shape[2]
        for index in range(WIDTHS):
            layers += [nn.Linear(width, candidate.integer(f"width{index}")), nn.ReLU()]
            width = candidate.integer(f"width{index}")
        return nn.Sequential(*layers, nn.Linear(width, classes))


class NoopTrainable(CandidateTrainable):
    """A worker that neither trains nor measures."""

    def _step(self) -> dict[str, Any]:
        error = 1 / (1 + self._candidate.integer("width0"))
        measurement = Measurement(
            figures={"error": error, "test_error": error},
            fusion={"largest_relative_difference": 0.0},
            seed=0,
            epochs=1,
            train_seconds=0.0,
            branched_parameters=0,
        )
        curve = [EpochPoint(error, train_loss=1.0, seconds=0.0)]
        return {"done": True, "curve": json.dumps(curve), "measurement": json.dumps(asdict(measurement))}
