"""Whether a file answers as the network that it was made from: its outputs, and its mistakes, on the same examples.

Shape legend: n examples, k classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ...spaces.errors import UserError
from ...trainers.data.dataset import Split
from ...trainers.transcription import answers_of

if TYPE_CHECKING:
    from ..tasks import Task
    from .samples import Samples

Answers = Callable[[np.ndarray], np.ndarray]
"""From features (n, *input_shape) to logits (n, k), or (n, steps, k) of a transcriber."""

MOST_EXAMPLES, MADE_UP_EXAMPLES = 1000, 64
MADE_UP = "inputs made up with the distribution of normalised features"
TOLERANCE = 1e-4
"""Of a file in float32: the largest difference of logits, over the largest logit where that is above 1."""
INT8_TOLERANCE = 0.25
"""Of a quantised file: the root mean square of differences over that of the logits."""
SCORED_TOLERANCE = 1.0
"""The same of a file that a search scored as it is: no more than that it is this network."""
MOST_LOST = 0.005
"""Of the task's error, half a point."""


@dataclass(frozen=True)
class Checker:
    """The examples that an export is checked on, and what torch says of them."""

    split: Split
    """Features, and labels where ``is_labelled``."""
    logits: np.ndarray
    task: Task
    about: str
    is_labelled: bool
    has_all: bool
    """Whether none was left out."""

    @classmethod
    def of(cls, model: nn.Module, task: Task, input_shape: tuple[int, ...], samples: Samples | None) -> Checker:
        """Check on samples, of which so many are taken evenly; without any on inputs that are made up."""
        if samples is None:
            about, split = MADE_UP, _made_up(input_shape)
        else:
            about, split = samples.about, _spread(samples.test)
        features = split.features.astype(np.float32)
        is_labelled = samples is not None and samples.is_labelled
        has_all = samples is not None and len(split) == len(samples.test)
        return cls(Split(features, split.labels), answers_of(model)(features), task, about, is_labelled, has_all)

    @property
    def inputs(self) -> np.ndarray:
        return self.split.features

    def first(self, count: int) -> torch.Tensor:
        """Some of the examples."""
        return torch.from_numpy(self.inputs[:count])

    def check(self, name: str, runtime: str, answers: Answers, *, quantised: bool = False) -> dict[str, Any]:
        """Run a file on all examples, and return what the manifest says of it.

        Raises :class:`UserError` where its outputs differ from torch's by more than the tolerance, and where it makes
        more mistakes by more than half a point.
        """
        told = self._compared(name, runtime, answers, quantised, INT8_TOLERANCE if quantised else TOLERANCE)
        if self.is_labelled and told["error"] > told["error_of_torch"] + MOST_LOST:
            raise UserError(
                f"{name}: makes {100 * told['error']:.2f} % errors on {self.about}, and torch "
                f"{100 * told['error_of_torch']:.2f} % (half a point more is allowed); nothing written"
            )
        return told

    def check_scored(self, name: str, runtime: str, answers: Answers, scored: float | None) -> dict[str, Any]:
        """The same of a quantised file that a search has scored as it is, whatever torch says of it.

        Raises :class:`UserError` where it makes other errors than it was ``scored`` with; None where it was scored on
        other examples than these.
        """
        told = self._compared(name, runtime, answers, True, SCORED_TOLERANCE)
        if self.is_labelled and scored is not None and abs(told["error"] - scored) > MOST_LOST:
            raise UserError(
                f"{name}: makes {100 * told['error']:.2f} % errors on {self.about}, and {100 * scored:.2f} % when the "
                "search scored it; nothing written"
            )
        return told

    def _compared(self, name: str, runtime: str, answers: Answers, quantised: bool, tolerance: float) -> dict[str, Any]:
        got = answers(self.inputs)
        difference = np.inf if got.shape != self.logits.shape else _difference(got, self.logits, quantised)
        # Written so that NaN is refused.
        if not difference <= tolerance:
            raise UserError(
                f"{name}: its outputs differ from torch's by {difference:.2g} (tolerance {tolerance:g}); "
                "nothing written"
            )
        errors = {"error": self._error(got), "error_of_torch": self._error(self.logits)} if self.is_labelled else {}
        return {
            "runtime": runtime,
            "examples": len(got),
            "of": self.about,
            "difference": difference,
            "difference_is": "root mean square, relative" if quantised else "largest, over the largest logit above 1",
            "tolerance": tolerance,
            **errors,
        }

    def _error(self, logits: np.ndarray) -> float:
        return self.task.mistakes(logits, self.split)


def _difference(got: np.ndarray, expected: np.ndarray, quantised: bool) -> float:
    if quantised:
        return float(np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2)))
    return float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max()))


def _spread(split: Split) -> Split:
    chosen = np.linspace(0, len(split) - 1, min(len(split), MOST_EXAMPLES)).round().astype(int)
    return Split(split.features[chosen], split.labels[chosen])


def _made_up(input_shape: tuple[int, ...]) -> Split:
    features = np.random.default_rng(0).standard_normal((MADE_UP_EXAMPLES, *input_shape))
    return Split(features, np.zeros(MADE_UP_EXAMPLES, np.int64))
