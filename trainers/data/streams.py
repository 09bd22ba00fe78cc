"""Long sounds: recordings put one after the other, the features of all, and when the wake word is spoken in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..features import FeatureStream, LogMel
from .dataset import SoundStream, Source


@dataclass(frozen=True)
class Sound:
    """A piece of a stream."""

    waveform: np.ndarray
    """(samples,), full scale 1."""
    source: str
    """The recording that it is of."""
    offset_seconds: float = 0.0
    """Where in that recording it begins."""
    word: tuple[int, int] | None = None
    """From which to which of its samples the wake word is spoken."""


class StreamBuilder:
    """Puts sounds one after the other; the features are those of the whole, as a device would hear it."""

    def __init__(self, log_mel: LogMel) -> None:
        self._rate_hz = log_mel.sample_rate_hz
        self._features = FeatureStream(log_mel)
        self._frames = [np.zeros((log_mel.bands, 0), np.float32)]
        self._samples = 0
        self._words: list[tuple[float, float]] = []
        self._sources: list[Source] = []

    def add(self, sound: Sound) -> None:
        seconds = self._samples / self._rate_hz
        self._sources.append(Source(seconds, sound.source, sound.offset_seconds))
        if sound.word is not None:
            start, end = ((self._samples + place) / self._rate_hz for place in sound.word)
            self._words.append((start, end))
        self._frames.append(self._features.push(sound.waveform))
        self._samples += len(sound.waveform)

    def built(self) -> SoundStream:
        return SoundStream(
            np.concatenate(self._frames, axis=1),
            np.array(self._words, np.float64).reshape(-1, 2),
            tuple(self._sources),
        )


class Windows:
    """The windows of ``frames`` frames of a stream whose frames are ``hop_seconds`` apart."""

    def __init__(self, stream: SoundStream, frames: int, hop_seconds: float) -> None:
        self._features, self._frames = stream.features, frames
        self._last = stream.features.shape[1] - frames
        """The last frame at which a window can begin; negative where the stream is shorter than one."""
        self._first_frames = np.floor(stream.words[:, 0] / hop_seconds).astype(np.int64)
        self._end_frames = np.ceil(stream.words[:, 1] / hop_seconds).astype(np.int64)

    def without_word(self, step: int, most: int) -> np.ndarray:
        """Where windows begin that hold nothing of a word, ``step`` frames apart, of too many every second or third."""
        starts = np.arange(0, self._last + 1, step)
        # Words are apart and ascending: the first to end after a window's start is the only one it may reach.
        following = np.searchsorted(self._end_frames, starts, side="right")
        next_word = np.append(self._first_frames, np.iinfo(np.int64).max)[following]
        starts = starts[starts + self._frames <= next_word]
        return starts[:: max(1, -(-len(starts) // most))]

    def with_word(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Where windows begin that hold a word, ``count`` for each of them: the word anywhere in it and whole, or as
        much of its end as there is room for."""
        latest = np.minimum(self._first_frames, self._last)
        earliest = np.maximum(0, np.minimum(self._end_frames, self._last + self._frames) - self._frames)
        latest = np.maximum(latest, earliest)
        return rng.integers(np.repeat(earliest, count), np.repeat(latest, count), endpoint=True)

    def cut(self, starts: np.ndarray) -> np.ndarray:
        """The windows (n, bands, frames) that begin there."""
        if not len(starts):
            return np.zeros((0, len(self._features), self._frames), self._features.dtype)
        views = np.lib.stride_tricks.sliding_window_view(self._features, self._frames, axis=1)
        return np.ascontiguousarray(views[:, starts].transpose(1, 0, 2))
