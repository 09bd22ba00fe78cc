"""What every data source returns: features in memory, split three ways, with the recipe that made them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...spaces.errors import UserError
from ..detection import DetectionTask
from ..tokens import BLANK, TranscriptionTask


@dataclass(frozen=True)
class Split:
    """``features`` of shape ``(n, *input_shape)``, float16 or float32, and ``labels``, int64.

    Labels are classes (n,), or transcripts (n, longest): tokens, with blanks behind the shorter ones.
    """

    features: np.ndarray
    labels: np.ndarray
    frames: np.ndarray | None = None
    """How many frames of each example are sound, (n,), where silence stands behind it; None where all are."""

    def __len__(self) -> int:
        return len(self.labels)


PAUSE, SYNTHETIC_SPEECH = "a pause", "synthetic speech"
MADE = (PAUSE, SYNTHETIC_SPEECH)
"""Sources of a stream that are no recordings."""


class Source(NamedTuple):
    """What is heard of a stream from one time on."""

    start_seconds: float
    """In the stream."""
    name: str
    """Of the recording."""
    offset_seconds: float = 0.0
    """Where in that recording it begins."""


@dataclass(frozen=True)
class SoundStream:
    """A long sound: ``features`` of shape (bands, frames), and start and end in seconds of each wake word in it."""

    features: np.ndarray
    words: np.ndarray
    """Of shape (w, 2), ascending."""
    sources: tuple[Source, ...] = ()
    """What is heard when, ascending."""

    def is_made(self, seconds: np.ndarray) -> np.ndarray:
        """Whether at each of these times (n,) something is heard that is no recording."""
        made = np.array([False, *(source.name in MADE for source in self.sources)])
        answer: np.ndarray = made[np.searchsorted([source.start_seconds for source in self.sources], seconds, "right")]
        return answer

    def source_at(self, seconds: float) -> str:
        """The recording that is heard then, and the second in it."""
        place = bisect_right(self.sources, seconds, key=lambda source: source.start_seconds)
        source = self.sources[place - 1] if place else Source(0.0, "the stream")
        return f"{source.name} at {source.offset_seconds + seconds - source.start_seconds:.1f} s"


NO_LABEL = -1
"""Of an example whose class nobody told."""


@dataclass(frozen=True)
class User:
    """Somebody whom no split has: what they give to learn from, and what only tests."""

    name: str
    own: Split
    """Labels are classes, or ``NO_LABEL``."""
    test: Split


@dataclass(frozen=True)
class Dataset:
    """Features and labels of one task, shared read-only by all workers.

    ``front_end`` says how to compute the same features on the device (it goes into the export's manifest);
    ``noise`` is a bank of noise features, ``(m, *input_shape)``, for augmentation, or None where the task has none;
    ``notes`` are facts about the loading that the user should see, such as files that were skipped.
    For a wake word there are ``streams`` to listen to, "validation" and "test", and ``detection`` says how. Where
    labels are transcripts ``transcription`` says of what, and the first of ``labels`` is the blank. ``users`` are those
    for whom a model could be made their own.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    front_end: dict[str, Any]
    noise: np.ndarray | None = None
    notes: tuple[str, ...] = field(default=())
    streams: Mapping[str, SoundStream] = field(default_factory=dict)
    detection: DetectionTask | None = None
    transcription: TranscriptionTask | None = None
    users: tuple[User, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: (mel bands, frames) for audio, (channels, height, width) for images."""
        return tuple(self.train.features.shape[1:])

    def __post_init__(self) -> None:
        if "kind" not in self.front_end:
            raise UserError(f'data {self.name}: its front_end needs a "kind", such as "log_mel" or "pixels"')
        is_transcribed = self.train.labels.ndim == 2
        present = np.unique(self.train.labels[self.train.labels != BLANK] if is_transcribed else self.train.labels)
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
