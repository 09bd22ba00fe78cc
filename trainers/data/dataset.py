"""What every data source returns: features in memory, split three ways, with the recipe that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ...spaces.errors import UserError


@dataclass(frozen=True)
class Split:
    """``features`` of shape (n, *input_shape), float16 or float32, and ``labels`` of shape (n,), int64."""

    features: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Features and labels of one task, shared read-only by all workers.

    ``front_end`` says how to compute the same features on the device (it goes into the export's manifest);
    ``noise`` is a bank of noise features, shape (m, *input_shape), for augmentation, or None where the task has none;
    ``notes`` are facts about the loading that the user should see, such as files that were skipped.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    front_end: dict[str, Any]
    noise: np.ndarray | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: (mel bands, frames) for audio, (channels, height, width) for images."""
        return tuple(self.train.features.shape[1:])

    def __post_init__(self) -> None:
        if "kind" not in self.front_end:
            raise UserError(f'data {self.name}: its front_end needs a "kind", such as "log_mel" or "pixels"')
        present = np.unique(self.train.labels)
        if len(present) < 2:
            raise UserError(
                f"data {self.name}: training data of {len(present)} class(es), need at least 2 "
                f"(labels: {', '.join(self.labels)})"
            )
        for split_name in ("train", "validation", "test"):
            if len(getattr(self, split_name)) == 0:
                raise UserError(
                    f"data {self.name}: the {split_name} split is empty; add recordings or change the split"
                )


class DataSource(Protocol):
    """A frozen dataclass of settings that loads a :class:`Dataset`; equal settings load equal data."""

    def load(self, *, seed: int) -> Dataset:
        """Load or make the data; raises :class:`UserError` where the settings or the files are unusable."""
        ...
