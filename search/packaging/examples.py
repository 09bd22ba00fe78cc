"""Inputs with what is to come out, for whoever brings a package to a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...trainers.features import LogMel, Normalisation
from .checks import Checker
from .front_end import example_waveforms

EXAMPLES_FILE = "examples.npz"
EXAMPLES = 8


def write_examples(checker: Checker, front_end: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write some inputs and the logits that torch gives for them as NumPy arrays, and say what they are.

    For a model of sound there is one waveform, too, with its features.
    """
    chosen = _of_each_class(checker)
    arrays = {"features": checker.inputs[chosen], "logits": checker.logits[chosen]}
    if checker.is_labelled:
        arrays["labels"] = checker.split.labels[chosen]
    if front_end["kind"] == "log_mel":
        log_mel = LogMel.from_front_end(front_end)
        *_, sound = example_waveforms(log_mel)
        arrays["waveform"] = sound
        arrays["waveform_features"] = Normalisation.from_front_end(front_end).apply(log_mel(sound[None]))[0]
    np.savez(folder / EXAMPLES_FILE, **arrays)
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return {"examples": {"file": EXAMPLES_FILE, "of": checker.about, "arrays": shapes}}


def _of_each_class(checker: Checker) -> np.ndarray:
    """The places of the first example of each class, and of more until there are enough."""
    labels = checker.split.labels
    first = np.unique(labels, return_index=True)[1] if labels.ndim == 1 else np.arange(0)
    return np.unique([*np.sort(first)[:EXAMPLES], *range(len(labels))][: max(EXAMPLES, 1)])
