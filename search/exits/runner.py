"""An exported network at work, stage by stage: what an early exit is sure of costs no more stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...spaces.errors import UserError
from ...trainers.decoding import greedy
from ...trainers.exits.policies import POLICIES
from ...trainers.exits.temperature import softmax
from ...trainers.exits.thresholds import Threshold
from ...trainers.tokens import TranscriptionTask
from ..devices.stages import Stages

MANIFEST = "manifest.json"
_POINT_KEYS = ("policy", "thresholds")
FOR_FILES = ("classification", "transcription")
"""Tasks whose models answer for a file."""


@dataclass(frozen=True)
class Answer:
    """A label or the text of an utterance, how probable it is, and at which exit, from 1, of how many it was given.

    Of a text that is the probability of its likeliest path.
    """

    label: str
    probability: float
    exit: int
    exits: int


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return an export's manifest; raises :class:`UserError` for a folder that is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: is no export (its {MANIFEST} cannot be read)") from error
    if not isinstance(manifest, dict) or "labels" not in manifest or "input" not in manifest:
        raise UserError(f"{folder}: is no export (its {MANIFEST} has no labels)")
    task = manifest.get("task", "classification")
    if task not in FOR_FILES:
        raise UserError(f"{folder}: its model is for {task}, and only classifiers and transcribers answer for files")
    return manifest


def _reader_of(manifest: Mapping[str, Any]) -> Callable[[np.ndarray], str]:
    """What an export's probabilities (*steps, classes) say."""
    labels = tuple(manifest["labels"])
    if "transcription" not in manifest:
        return lambda probabilities: labels[int(probabilities.argmax())]
    task = TranscriptionTask(manifest["transcription"]["unit"])
    return lambda probabilities: task.text_of(greedy(probabilities[None])[0], labels)


class StagedModel:
    """Runs an export's stages in their runtime until an exit is sure; of one without exits, the file that ships.

    ``point`` is the place of an operating point in the manifest, the one that was exported by default. Raises
    :class:`UserError` for a folder that is no export, a point that it has not got and thresholds out of range.
    """

    def __init__(self, folder: Path, point: int | None = None) -> None:
        manifest = read_manifest(folder)
        self._read = _reader_of(manifest)
        exits = manifest.get("exits")
        if exits is None:
            if point is not None:
                raise UserError(f"{folder}: has no early exits, and so no operating point {point}")
            exits = {"stages": [manifest["ships"]], "temperatures": [1.0], "points": [_LAST_ALONE], "chosen": 0}
        temperatures: Sequence[float] = exits["temperatures"]
        self.exits = len(temperatures)
        """How many there are, the last one included."""
        chosen = exits["points"][_checked_place(folder, exits["points"], exits["chosen"] if point is None else point)]
        self.policy, self.thresholds = _checked_point(folder, chosen, self.exits)
        stages = _opened(folder, exits["stages"])
        self._stop_early = EarlyStopping(stages, temperatures, self.policy, self.thresholds)

    def __call__(self, features: np.ndarray) -> Answer:
        """Return the answer for the features (*input_shape) of one example."""
        probabilities, exit = self._stop_early(features)
        return Answer(self._read(probabilities), float(probabilities.max(-1).prod()), exit, self.exits)


class EarlyStopping:
    """Stages that run until an exit is sure by a policy; there is a threshold for each exit but the last."""

    def __init__(
        self, stages: Stages, temperatures: Sequence[float], policy: str, thresholds: Sequence[Threshold]
    ) -> None:
        self._stages, self._temperatures = stages, temperatures
        self._score, self._thresholds = POLICIES[policy], thresholds

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the probabilities (*steps, classes) for one example (*input_shape), and the exit, from 1, of them."""
        seen: list[np.ndarray] = []
        for logits, temperature in zip(self._stages.answers(features), self._temperatures, strict=False):
            seen.append(softmax(logits.astype(float), temperature))
            if len(seen) <= len(self._thresholds) and self._is_sure(seen):
                break
        return seen[-1], len(seen)

    def _is_sure(self, seen: Sequence[np.ndarray]) -> bool:
        threshold = self._thresholds[len(seen) - 1]
        return threshold is not None and self._score(np.stack(seen)[None])[0, -1] >= threshold


def _opened(folder: Path, names: Sequence[str]) -> Stages:
    """The stages of an export in the runtime that their format is of."""
    files = []
    for name in names:
        try:
            files.append((folder / name).read_bytes())
        except OSError as error:
            raise UserError(f"{folder}: its {name} cannot be read ({error.strerror}); export it again") from error
    suffix = Path(names[0]).suffix
    if suffix == ".tflite":
        from ..devices.tflite.run_stages import TfliteStages

        return TfliteStages(files)
    if suffix == ".pte":
        from ..devices.executorch.program import ProgramStages

        return ProgramStages(files[0])
    from ..devices.host.onnx_stages import OnnxStages

    return OnnxStages(files)


_LAST_ALONE: Mapping[str, Any] = {"policy": "confidence", "thresholds": []}


def _checked_place(folder: Path, points: Sequence[Any], place: int) -> int:
    if not 0 <= place < len(points):
        raise UserError(f"{folder}: has no operating point {place} (0 to {len(points) - 1})")
    return place


def _checked_point(folder: Path, point: Mapping[str, Any], stages: int) -> tuple[str, tuple[float | None, ...]]:
    policy, thresholds = (point[key] for key in _POINT_KEYS)
    if policy not in POLICIES:
        raise UserError(f"{folder}: exits go by {policy!r}, which is unknown (known: {', '.join(POLICIES)})")
    most = stages if policy == "patience" else 1
    if len(thresholds) != stages - 1:
        raise UserError(f"{folder}: {len(thresholds)} thresholds for {stages} stages (give one for each but the last)")
    for number, threshold in enumerate(thresholds, 1):
        if threshold is not None and not 0 <= threshold <= most:
            raise UserError(
                f"{folder}: the threshold of exit {number} is {threshold} "
                f"(give 0 to {most}, or null for an exit that is off)"
            )
    return policy, tuple(thresholds)
