"""What an export says of files: sound, or features as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..spaces.errors import UserError


def features_of(path: Path, manifest: Mapping[str, Any]) -> np.ndarray:
    """Return the features (*input_shape) that an export's model takes of a file.

    A WAV or FLAC file is cut to the loudest window, as in training; a transcriber hears all of it, and silence behind.
    A ``.npy`` file holds features as they are. Raises :class:`UserError` for a file that cannot be read, is silent, or
    does not fit.
    """
    shape = tuple(manifest["input"]["shape"][1:])
    if path.suffix == ".npy":
        try:
            features = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: holds no array of numbers ({error})") from error
    else:
        features = _heard(path, manifest["front_end"], shape, in_full="transcription" in manifest)
    if features.shape != shape:
        raise UserError(f"{path}: has features of shape {features.shape}, and the model takes {shape}")
    return features.astype(np.float32)


def _heard(path: Path, front_end: Mapping[str, Any], shape: tuple[int, ...], *, in_full: bool) -> np.ndarray:
    from ..trainers.data.audio import UnreadableAudio, loudest_window, read_clip
    from ..trainers.features import LogMel, Normalisation

    if front_end["kind"] != "log_mel":
        raise UserError(f"{path}: the model takes {front_end['kind']} and no sound (give its features as .npy files)")
    log_mel = LogMel.from_front_end(front_end)
    try:
        sound = read_clip(path, log_mel.sample_rate_hz)
    except UnreadableAudio as error:
        raise UserError(f"{path}: {error}") from error
    if not np.abs(sound).max() > 0:
        raise UserError(f"{path}: is silent")
    samples = shape[-1] * log_mel.hop_samples
    window = _whole(path, sound, samples, log_mel.sample_rate_hz) if in_full else loudest_window(sound, samples)
    features = Normalisation.from_front_end(front_end).apply(log_mel(window[None]))
    return features[0].reshape(shape)


def _whole(path: Path, sound: np.ndarray, samples: int, rate_hz: int) -> np.ndarray:
    """The window of ``samples`` that a sound begins."""
    if len(sound) > samples:
        raise UserError(
            f"{path}: is {len(sound) / rate_hz:.1f} s long, and the model hears {samples / rate_hz:g} s (cut it there)"
        )
    return np.pad(sound, (0, samples - len(sound)))
