"""What a user should know of the data of a wake word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..detection import Counts, DetectionTask
from .dataset import SoundStream
from .streams import Sound

FEW_WORDS = 20
_CLIPPED_LEVEL, _CLIPPED_SHARE = 0.999, 0.001


def notes_on_words(
    word: str, words: Mapping[str, Sequence[Sound]], sample_rate_hz: int, clip_seconds: float
) -> list[str]:
    """Of the recordings of a wake word by split: that few of them test, are clipped, or do not fit in a window."""
    notes = []
    tested, total = len(words["test"]), sum(map(len, words.values()))
    if tested < FEW_WORDS:
        low, high = Counts(tested, 0, 0, 0.0).miss_interval()
        notes.append(
            f"only {tested} recordings of {word!r} test: even without a miss the rate may be "
            f"{low:.0%} to {high:.0%} (95 %)"
        )
    said = [sound for of in words.values() for sound in of]
    clipped = sum((np.abs(sound.waveform) >= _CLIPPED_LEVEL).mean() > _CLIPPED_SHARE for sound in said)
    if clipped:
        notes.append(f"{clipped:,} of {total:,} recordings of {word!r} are clipped")
    seconds = [(sound.word[1] - sound.word[0]) / sample_rate_hz for sound in said if sound.word]
    long = sum(lasts > clip_seconds for lasts in seconds)
    if long:
        notes.append(
            f"{long:,} of {total:,} times {word!r} lasts longer than a window of {clip_seconds:g} s, up to "
            f"{max(seconds):.1f} s; only its end is in it (raise data.clip_seconds)"
        )
    return notes


def notes_on_streams(streams: Mapping[str, SoundStream], hop_seconds: float, task: DetectionTask) -> list[str]:
    """How long they are, and that one false alarm is too many where it is."""
    hours = {split: stream.features.shape[1] * hop_seconds / 3600 for split, stream in streams.items()}
    told = ", ".join(
        f"{split} {hours[split]:.2f} h with {len(stream.words)} words" for split, stream in streams.items()
    )
    notes = [f"streams: {told}"]
    if hours["validation"] * task.false_alarms_per_hour < 1:
        notes.append(
            f"one false alarm in the {hours['validation']:.2f} h that calibrate is {1 / hours['validation']:.1f} an "
            f"hour, and {task.false_alarms_per_hour:g} are allowed: the threshold is above all sounds (give more hours)"
        )
    return notes
