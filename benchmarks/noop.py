"""Trials that do nothing, in repareto and in plain Ray Tune, over the same eight parameters."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ray import tune
from torch import nn

from repareto.search.records import EpochPoint, Measurement
from repareto.search.worker import CandidateTrainable
from repareto.spaces.space import Candidate, Choice, Float, Int, Parameter, SearchSpace

WIDTHS, RATES, FLAGS = 4, 2, 2


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
        error = _error(int(str(self._candidate["width0"])))
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


def _error(width: int) -> float:
    return 1 / (1 + width)


def plain_space(trial: Any) -> None:
    """The same parameters, defined by run as Optuna's users write them."""
    for index in range(WIDTHS):
        trial.suggest_int(f"width{index}", 4, 64)
    for index in range(RATES):
        trial.suggest_float(f"rate{index}", 1e-4, 1e-1, log=True)
    for index in range(FLAGS):
        trial.suggest_categorical(f"flag{index}", [False, True])


class PlainNoop(tune.Trainable):
    """A class trainable that ends at once, the fastest kind that Ray Tune has."""

    def setup(self, config: dict[str, Any]) -> None:
        self.width = config["width0"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.width = new_config["width0"]
        return True

    def step(self) -> dict[str, Any]:
        return {"done": True, "error": _error(self.width), "latency_us": self.width, "peak_memory_bytes": self.width}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to keep."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing was kept."""
