"""The stages of a network with early exits as files: what their ends are called, and how they run.

A stage is a file of its own, or a method of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from .shipped import INPUT_NAME, OUTPUT_NAME

HIDDEN_NAME = "hidden"
"""The map that goes from stage to stage: the first output of each but the last, the input of each but the first."""


def stage_ends(number: int, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the input and the outputs of a stage, counted from 1, are called."""
    inputs = (INPUT_NAME if number == 1 else f"{HIDDEN_NAME}_in",)
    return inputs, (OUTPUT_NAME,) if number == count else (HIDDEN_NAME, OUTPUT_NAME)


class Stages(ABC):
    """The stages of a network with early exits at work on this host."""

    @abstractmethod
    def answers(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the logits (classes,) of one exit after the other for the features (*input_shape) of one example.

        A stage runs when its logits are asked for: who stops asking has stopped early.
        """

    def all_answers(self, features: np.ndarray) -> np.ndarray:
        """Return the logits (n, exits, classes), float64, for features (n, *input_shape)."""
        return np.stack([np.stack(list(self.answers(own))) for own in features]).astype(float)
