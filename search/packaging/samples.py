"""Real examples of what a model takes: they set the ranges of int8 files, and every file is checked on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...spaces.errors import UserError
from ...spaces.space import Candidate
from ...trainers.data.dataset import Dataset, Split
from ...trainers.data.front_ends import Datasets
from ..config import Config
from ..parts import Parts
from ..run import load_data
from ..shipping import CALIBRATION_SAMPLES
from ..study_data import describe_data

SAME = ("labels", "input_shape", "front_end")
"""What a model hangs on: with another of these its inputs would be others."""


@dataclass(frozen=True)
class Samples:
    """Features (n, *input_shape) that set ranges, and examples to check on, of which ``about`` says what they are."""

    ranges: np.ndarray
    test: Split
    about: str
    is_labelled: bool = True

    @classmethod
    def of(cls, dataset: Dataset) -> Samples:
        """As many training examples as a worker takes to set the ranges of an int8 file, and the test split."""
        train = dataset.train.features
        chosen = np.random.default_rng(0).permutation(len(train))[:CALIBRATION_SAMPLES]
        return cls(train[chosen].astype(np.float32), dataset.test, f"the test split of {dataset.name}")


def load_for(config: Config, candidate: Candidate, made_for: Mapping[str, Any], say: Callable[[str], None]) -> Dataset:
    """Return the data of a study through a candidate's own front end.

    Raises :class:`UserError` where it cannot be loaded, and where it is no longer what the model was made for.
    """
    parts = Parts(config)
    overrides = candidate.front_end()
    dataset = load_data(parts, say, [variant for variant in parts.variants if variant.overrides == overrides]).first
    # As JSON keeps it.
    found = json.loads(json.dumps(describe_data(Datasets.single(dataset))))
    for key in SAME:
        if found[key] != made_for[key]:
            raise UserError(
                f"data: its {key} is no longer that which the model was made for (bring the data back, "
                "or export with --without-data)"
            )
    return dataset
