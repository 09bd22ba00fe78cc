"""How loud a recording of speech is, and where in it something is said."""

from __future__ import annotations

import numpy as np

FRAME_SECONDS = 0.01
SMOOTHED_FRAMES = 5
FLOOR_DB = 35.0
"""What lies further below the loudest frame is silence: how deep it is, and whether a room made it, tells nothing."""
LEAST_DB = 6.0
"""By which speech stands out of its room, in the mean."""
WITHIN_A_WORD_SECONDS = 0.25
"""Longer than the breath is held within a word, as in "sto-p"."""
MARGIN_SECONDS = 0.05
"""Before the first and after the last frame that stands out: words begin and end softly."""


def spoken_span(waveform: np.ndarray, sample_rate_hz: int) -> tuple[int, int]:
    """From which to which sample of a recording (samples,) its word or phrase is spoken, as far as loudness tells.

    Otsu's threshold parts the levels of frames in decibels, the room's from the speech's. Runs of loud frames within a
    quarter of a second are one, and the run that stands out most, over its length, is the word. The whole recording,
    where nothing stands out.
    """
    sounding = np.flatnonzero(waveform)
    # Many recordings begin and end in silence that no room made.
    first, end = (int(sounding[0]), int(sounding[-1]) + 1) if len(sounding) else (0, len(waveform))
    frame = max(1, round(FRAME_SECONDS * sample_rate_hz))
    level_db = _smoothed_db(waveform[first:end], frame)
    if len(level_db) < 2:
        return first, end
    threshold_db, apart_db = _otsu(np.maximum(level_db, level_db.max() - FLOOR_DB))
    if apart_db < LEAST_DB:
        return first, end
    loud = np.flatnonzero(level_db >= threshold_db)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > WITHIN_A_WORD_SECONDS / FRAME_SECONDS) + 1)
    word = max(runs, key=lambda run: float((level_db[run] - threshold_db).sum()))
    margin = round(MARGIN_SECONDS * sample_rate_hz)
    return max(first, first + int(word[0]) * frame - margin), min(end, first + (int(word[-1]) + 1) * frame + margin)


def _otsu(values: np.ndarray) -> tuple[float, float]:
    """The threshold that parts ``values`` (n,), n >= 2, into two classes as alike in themselves as can be, and how far
    apart the means of both are (N. Otsu, 1979); what reaches the threshold is of the upper class."""
    ordered = np.sort(values)
    below = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    apart = (sums[-1] - sums[:-1]) / (len(ordered) - below) - sums[:-1] / below
    best = int(np.argmax(below * (len(ordered) - below) * np.square(apart)))
    return float(ordered[best + 1]), float(apart[best])


def speech_level_db(waveform: np.ndarray, sample_rate_hz: int) -> float:
    """How loud the speech in a recording (samples,) is, in dB of full scale: of its frames the 95 % quantile.

    Unlike a mean it hardly depends on how much of the recording is pause.
    """
    return float(np.quantile(_frames_db(waveform, min(len(waveform), round(2 * FRAME_SECONDS * sample_rate_hz))), 0.95))


def _smoothed_db(waveform: np.ndarray, frame: int) -> np.ndarray:
    power = 10.0 ** (_frames_db(waveform, frame) / 10.0)
    if len(power) < SMOOTHED_FRAMES:
        return np.zeros(0)
    smoothed: np.ndarray = np.convolve(power, np.full(SMOOTHED_FRAMES, 1 / SMOOTHED_FRAMES), "same")
    return 10.0 * np.log10(smoothed)


def _frames_db(waveform: np.ndarray, frame: int) -> np.ndarray:
    """Mean power of each whole frame, in dB of full scale."""
    frames = waveform[: len(waveform) // frame * frame].reshape(-1, frame)
    power: np.ndarray = np.square(frames, dtype=np.float64).mean(axis=1)
    return 10.0 * np.log10(np.maximum(power, 1e-12))
