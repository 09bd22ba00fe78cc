"""A wake word made one user's own: a few times it is said, and the threshold becomes one that hears this user.

A network that has heard many people scores some of them lower than others. What a lower threshold costs is known from
the export: false alarms an hour in the stream that thresholds were calibrated on. Nothing of the network changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..spaces.errors import UserError
from ..trainers.data.audio import UnreadableAudio, read_clip
from .files import write_atomically
from .listen import Listener

FEWEST = 3
AROUND_SECONDS = 2.0
"""Of the recording's own background, before and after it: a network hears whole windows."""
_FRAME_SECONDS, _BACKGROUND_QUANTILE, _LEAST_LEVEL = 0.02, 0.1, 1e-4
KEY = "enrolled"


@dataclass(frozen=True)
class Enrolled:
    """What came of it; ``scores`` are the highest of each recording, as detections see them."""

    word: str
    scores: tuple[float, ...]
    threshold_before: float
    threshold: float
    false_alarms_per_hour: float
    """At the new threshold, in the stream of calibration."""

    def heard_at(self, threshold: float) -> int:
        """How many of the recordings are detected."""
        return sum(score >= threshold for score in self.scores)


def enroll(folder: Path, data: Path, *, most_false_alarms: float, say: Callable[[str], None]) -> Enrolled:
    """Fit the threshold of an exported wake word to the recordings of it in ``data``, and write it into the manifest.

    It becomes the highest of the calibrated ones at which all recordings are heard, or that of ``most_false_alarms`` an
    hour where they are not; never a higher one than all users have. Doing it again does it anew. Raises
    :class:`UserError` for what is no export of a wake word, and for fewer than three recordings that can be used.
    """
    path = folder / "manifest.json"
    listener = Listener(folder)
    manifest = json.loads(path.read_text())
    if "misses" not in manifest:
        raise UserError(
            f"{folder}: is no wake word's, so that no threshold was calibrated (search with data.source wakeword)"
        )
    known = manifest.get(KEY, manifest["detector"])
    before = {key: known[key] for key in ("threshold", "false_alarms_per_hour")}
    recordings = _read(data, listener.sample_rate_hz, say)
    scores = tuple(peak_score(Listener(folder), samples) for samples in recordings)
    chosen = choose_threshold(scores, before, manifest["misses"], most_false_alarms)
    new = {**manifest["detector"], **chosen}
    document = {**manifest, "detector": new, KEY: {**before, "recordings": len(recordings)}}
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
    return Enrolled(
        listener.words[0], scores, before["threshold"], chosen["threshold"], chosen["false_alarms_per_hour"]
    )


def choose_threshold(
    scores: Sequence[float], before: Mapping[str, float], calibrated: Sequence[Mapping[str, Any]], most: float
) -> dict[str, float]:
    """Return the threshold and its false alarms an hour, of :func:`enroll`; ``before`` is what all users have."""
    rows = [before, *(row for row in calibrated if row["threshold"] < before["threshold"])]
    allowed = [row for row in rows if row is before or row["false_alarms_per_hour"] <= most]
    reached = [row for row in allowed if row["threshold"] <= min(scores)]
    found = max(reached, key=_threshold) if reached else min(allowed, key=_threshold)
    return {key: found[key] for key in ("threshold", "false_alarms_per_hour")}


def _threshold(row: Mapping[str, Any]) -> float:
    return float(row["threshold"])


def peak_score(listener: Listener, samples: np.ndarray) -> float:
    """Return the highest score of the first word in a recording (s,), which a new ``listener`` hears in quiet."""
    around = _background(samples, listener.sample_rate_hz)
    scores = np.array([word[0] for word in listener.scores([np.concatenate([around, samples, around[::-1]])])])
    return float(listener.detector.smoothed(scores).max())


def _background(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Noise as loud as the recording is where nobody speaks."""
    frame = round(_FRAME_SECONDS * rate_hz)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    levels = np.sqrt(np.square(frames, dtype=float).mean(axis=1))
    level = max(_LEAST_LEVEL, float(np.quantile(levels, _BACKGROUND_QUANTILE)))
    noise = np.random.default_rng(0).standard_normal(round(AROUND_SECONDS * rate_hz))
    return (level * noise).astype(np.float32)


def _read(data: Path, rate_hz: int, say: Callable[[str], None]) -> list[np.ndarray]:
    if not data.is_dir():
        raise UserError(f"--data {data}: there is no such folder")
    found = []
    for path in sorted(path for path in data.iterdir() if path.suffix.lower() in (".wav", ".flac")):
        try:
            samples = read_clip(path, rate_hz)
        except UnreadableAudio as error:
            say(f"left out: {path}: {error}")
            continue
        if not np.abs(samples).max() > 0 or len(samples) < _FRAME_SECONDS * rate_hz:
            say(f"left out: {path}: is silent")
            continue
        found.append(samples)
    if len(found) < FEWEST:
        raise UserError(
            f"--data {data}: has {len(found)} recordings of the word that can be used; give {FEWEST} or more"
        )
    return found
