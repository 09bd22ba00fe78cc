"""Long sounds: recordings put one after the other, the features of all, and when the wake word is spoken in them."""

from __future__ import annotations

import numpy as np

from ..features import FeatureStream, LogMel
from .dataset import SoundStream


class StreamBuilder:
    """Puts waveforms one after the other; the features are those of the whole, as a device would hear it."""

    def __init__(self, log_mel: LogMel) -> None:
        self._rate_hz = log_mel.sample_rate_hz
        self._features = FeatureStream(log_mel)
        self._frames = [np.zeros((log_mel.bands, 0), np.float32)]
        self._samples = 0
        self._words: list[tuple[float, float]] = []
        self._sources: list[tuple[float, str]] = []

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self._samples / self._rate_hz

    def add(self, waveform: np.ndarray, source: str, word: tuple[int, int] | None = None) -> None:
        """Add a waveform (samples,); in its samples ``word[0]`` to ``word[1]`` the wake word is spoken."""
        if not self._sources or self._sources[-1][1] != source:
            self._sources.append((self.seconds, source))
        if word is not None:
            start, end = ((self._samples + place) / self._rate_hz for place in word)
            self._words.append((start, end))
        self._frames.append(self._features.push(waveform))
        self._samples += len(waveform)

    def built(self) -> SoundStream:
        return SoundStream(
            np.concatenate(self._frames, axis=1),
            np.array(self._words, np.float64).reshape(-1, 2),
            tuple(self._sources),
        )


def windows(stream: SoundStream, frames: int, step: int) -> np.ndarray:
    """The windows (n, bands, frames) of a stream that begin ``step`` frames apart."""
    if stream.features.shape[1] < frames:
        return np.zeros((0, stream.features.shape[0], frames), stream.features.dtype)
    cut = np.lib.stride_tricks.sliding_window_view(stream.features, frames, axis=1)[:, ::step]
    return np.ascontiguousarray(cut.transpose(1, 0, 2))
