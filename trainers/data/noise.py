"""Noise: generated (white, pink), babble of other clips, and how much of it is mixed into speech.

Shape legend: n clips, s samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TALKERS = 5
QUIET_RMS_DB = (-60.0, -35.0)  # of full scale: from a silent office to a room with a fan


def white(count: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian white noise (n, s), float32, RMS about 1."""
    return rng.standard_normal((count, samples), dtype=np.float32)


def pink(count: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls by 3 dB an octave (n, s), float32, RMS 1."""
    spectrum = np.fft.rfft(white(count, samples, rng))
    spectrum[:, 0] = 0.0
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    return at_rms(np.fft.irfft(spectrum, samples), 1.0)


def babble(clips: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Several of ``clips`` (m, s) at once, each at the same level and turned to another start: (n, s), RMS 1."""
    samples = clips.shape[1]
    level = at_rms(clips, 1.0)
    mixed = np.zeros((count, samples), np.float32)
    for row in mixed:
        for talker in rng.integers(len(clips), size=TALKERS):
            row += np.roll(level[talker], rng.integers(samples))
    return at_rms(mixed, 1.0)


def generated(count: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """White and pink noise in equal parts (n, s), RMS about 1."""
    whites = count // 2
    return rng.permutation(np.concatenate([white(whites, samples, rng), pink(count - whites, samples, rng)]))


def generated_with_babble(count: int, samples: int, clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White noise, pink noise and babble of ``clips`` (m, s) in equal parts (n, s), RMS about 1."""
    babbles = count // 3
    return rng.permutation(np.concatenate([generated(count - babbles, samples, rng), babble(clips, babbles, rng)]))


def quiet(noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``noise`` (n, s) at the level of a room in which nobody speaks, each clip at another."""
    return at_rms(noise, 10.0 ** (rng.uniform(*QUIET_RMS_DB, (len(noise), 1)) / 20.0))


def add_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: np.ndarray) -> np.ndarray:
    """``speech`` (n, s) plus ``noise`` (n, s) scaled so that their mean powers stand ``snr_db`` (n,) apart."""
    noise_rms = _rms(speech) / 10.0 ** (snr_db[:, None] / 20.0)
    return (speech + at_rms(noise, noise_rms)).astype(np.float32)


def at_rms(waveforms: np.ndarray, rms: np.ndarray | float) -> np.ndarray:
    """``waveforms`` (n, s) scaled to ``rms``, one number or (n, 1); digital silence stays silent."""
    scale = (rms / np.maximum(_rms(waveforms), 1e-12)).astype(np.float32)
    scaled: np.ndarray = np.multiply(waveforms, scale, dtype=np.float32)
    return scaled


def _rms(waveforms: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(waveforms).mean(axis=1, keepdims=True, dtype=np.float64))


def windows(
    recordings: Sequence[np.ndarray],
    count: int,
    samples: int,
    region: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Random windows (n, s) of ``recordings``, each at least s samples long, that start in this share of them.

    Disjoint regions give windows that do not overlap, but for recordings too short for that.
    """
    drawn = np.zeros((count, samples), np.float32)
    for row in drawn:
        recording = recordings[int(rng.integers(len(recordings)))]
        first, last = (int(share * len(recording)) for share in region)
        start = int(rng.integers(first, max(first, last - samples) + 1))
        start = min(start, len(recording) - samples)
        row[:] = recording[start : start + samples]
    return drawn
