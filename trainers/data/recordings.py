"""Many audio files to features, a few at a time, so that a large collection fits in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..features import LogMel
from .audio import read_clips

FILES_A_CHUNK = 1024
UNREADABLE_NAMED = 3


@dataclass(frozen=True)
class Recordings:
    """What the readable ones of a list of files hold."""

    features: np.ndarray
    """Log-mel features (n, bands, frames), float32."""
    kept: np.ndarray
    """Index into the list of each, shape (n,)."""
    unreadable: tuple[tuple[Path, str], ...]
    """Path and reason of each file that could not be read."""
    first_waveforms: np.ndarray
    """The waveforms of the first chunk that holds some, (at most FILES_A_CHUNK, samples)."""


def read_recordings(paths: Sequence[Path], log_mel: LogMel, samples: int) -> Recordings:
    """Features of the loudest window of ``samples`` samples of each of ``paths``."""
    features = np.empty((len(paths), log_mel.bands, log_mel.frames(samples)), np.float32)
    kept = np.empty(0, np.int64)
    unreadable: list[tuple[Path, str]] = []
    first_waveforms = np.empty((0, samples), np.float32)
    for start in range(0, len(paths), FILES_A_CHUNK):
        clips = read_clips(paths[start : start + FILES_A_CHUNK], log_mel.sample_rate_hz, samples)
        features[len(kept) : len(kept) + len(clips.kept)] = log_mel(clips.waveforms)
        kept = np.concatenate([kept, clips.kept + start])
        unreadable += clips.unreadable
        if not len(first_waveforms):
            first_waveforms = clips.waveforms
    return Recordings(features[: len(kept)], kept, tuple(unreadable), first_waveforms)


def note_unreadable(unreadable: Sequence[tuple[Path, str]], total: int) -> list[str]:
    """One note with the count and the first names ("word/file"), or none where all could be read."""
    if not unreadable:
        return []
    named = sorted((f"{path.parent.name}/{path.name}", reason) for path, reason in unreadable)
    examples = ", ".join(f"{name} ({reason})" for name, reason in named[:UNREADABLE_NAMED])
    more = f" and {len(named) - UNREADABLE_NAMED:,} more" if len(named) > UNREADABLE_NAMED else ""
    return [f"{len(named):,} of {total:,} clips could not be read and were skipped: {examples}{more}"]
