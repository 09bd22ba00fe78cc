"""Reading audio files and shaping what they hold to clips of one length."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_UNKNOWN_LENGTH = 2**62
"""So many samples and more libsndfile tells of a FLAC file that was written to a pipe, or that is empty."""


class UnreadableAudio(Exception):
    """A file that holds no usable audio; the message is the reason alone."""


@dataclass(frozen=True)
class Clips:
    """What came of a list of paths: ``waveforms`` (n, samples) and which paths gave them, in the list's order."""

    waveforms: np.ndarray
    kept: np.ndarray
    """Index into the paths of each waveform, shape (n,)."""
    unreadable: tuple[tuple[Path, str], ...]
    """Path and reason of each file that gave none."""


def read_clip(path: Path, sample_rate_hz: int, start: float = 0.0, end: float = 1.0) -> np.ndarray:
    """A file, or from one share of its length to another, as mono float32 of shape (samples,), full scale 1, resampled
    to ``sample_rate_hz``.

    Raises :class:`UnreadableAudio` where it cannot be decoded to its end, is empty or holds no finite samples.
    """
    import soundfile
    import soxr

    try:
        with soundfile.SoundFile(path) as file:
            if file.frames >= _UNKNOWN_LENGTH:
                raise UnreadableAudio("does not say how long it is")
            first, last = round(start * file.frames), round(end * file.frames)
            if first:
                file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
            promised, file_rate_hz = last - first, file.samplerate
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(reason(error)) from error
    # libsndfile may stop at damage without an error.
    if len(samples) < promised:
        raise UnreadableAudio(f"ends after {len(samples)} of {promised} samples")
    if len(samples) == 0:
        raise UnreadableAudio("holds no samples")
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise UnreadableAudio("holds samples that are no numbers")
    if file_rate_hz == sample_rate_hz:
        return mono
    resampled: np.ndarray = soxr.resample(mono, file_rate_hz, sample_rate_hz)
    return resampled


def seconds_of(path: Path) -> float:
    """How long a recording says it is, 0 where it cannot be opened or does not say."""
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        return 0.0
    return 0.0 if info.frames >= _UNKNOWN_LENGTH else float(info.duration)


def loudest_window(waveform: np.ndarray, samples: int) -> np.ndarray:
    """The window of ``samples`` samples with the greatest energy (the first of equals); short ones centred in zeros."""
    spare = len(waveform) - samples
    if spare <= 0:
        before = -spare // 2
        return np.pad(waveform, (before, -spare - before))
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    start = int(np.argmax(energy[samples:] - energy[:-samples]))
    return waveform[start : start + samples]


def without_silence(waveform: np.ndarray) -> np.ndarray:
    """An int16 ``waveform`` (samples,) from its first to its last sample above -40 dB of its peak."""
    loudness = np.abs(waveform.astype(np.int32))
    loud = np.flatnonzero(loudness > 0.01 * loudness.max(initial=1))
    return waveform[loud[0] : loud[-1] + 1] if len(loud) else waveform[:0]


def read_clips(paths: Sequence[Path], sample_rate_hz: int, samples: int) -> Clips:
    """Read ``paths`` in threads, each cut or padded to its loudest window; never raises for what a file holds."""

    def read(path: Path) -> np.ndarray | str:
        try:
            return loudest_window(read_clip(path, sample_rate_hz), samples)
        except UnreadableAudio as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(read, paths))
    kept = [index for index, result in enumerate(results) if not isinstance(result, str)]
    waveforms = np.zeros((len(kept), samples), np.float32)
    for row, index in enumerate(kept):
        waveforms[row] = results[index]
    unreadable = tuple((path, result) for path, result in zip(paths, results, strict=True) if isinstance(result, str))
    return Clips(waveforms, np.array(kept, np.int64), unreadable)


def reason(error: Exception) -> str:
    """What libsndfile says of a file, without its path."""
    # soundfile writes "Error opening 'path': Format not recognised." or "Error : flac decoder lost sync."
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(". ").lower()
