"""What an export says of files: sound, or features as NumPy arrays. Needs no torch where the export has a front end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..spaces.errors import UserError

FrontEnd = Callable[[np.ndarray], np.ndarray]
"""From a waveform (s,), full scale 1, to normalised features (bands, frames), or of the shape that a model takes."""


def features_of(path: Path, manifest: Mapping[str, Any], front_end: Callable[[], FrontEnd]) -> np.ndarray:
    """Return the features (*input_shape) that an export's model takes of a file, by its :func:`front_end_of`.

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
        sound = _heard(path, manifest["front_end"], shape, in_full="transcription" in manifest)
        features = front_end()(sound).reshape(shape)
    if features.shape != shape:
        raise UserError(f"{path}: has features of shape {features.shape}, and the model takes {shape}")
    return features.astype(np.float32)


def _heard(path: Path, settings: Mapping[str, Any], shape: tuple[int, ...], *, in_full: bool) -> np.ndarray:
    """The waveform (s,) of a window: the loudest one, or ``in_full`` the whole sound and silence behind it."""
    from ..trainers.data.audio import UnreadableAudio, loudest_window, read_clip

    if settings["kind"] != "log_mel":
        raise UserError(f"{path}: the model takes {settings['kind']} and no sound (give its features as .npy files)")
    try:
        sound = read_clip(path, settings["sample_rate_hz"])
    except UnreadableAudio as error:
        raise UserError(f"{path}: {error}") from error
    if not np.abs(sound).max() > 0:
        raise UserError(f"{path}: is silent")
    samples, rate_hz = shape[-1] * settings["hop_samples"], settings["sample_rate_hz"]
    return _whole(path, sound, samples, rate_hz) if in_full else loudest_window(sound, samples)


def _whole(path: Path, sound: np.ndarray, samples: int, rate_hz: int) -> np.ndarray:
    """The window of ``samples`` that a sound begins."""
    if len(sound) > samples:
        raise UserError(
            f"{path}: is {len(sound) / rate_hz:.1f} s long, and the model hears {samples / rate_hz:g} s (cut it there)"
        )
    return np.pad(sound, (0, samples - len(sound)))


def front_end_of(folder: Path, manifest: Mapping[str, Any]) -> Callable[[], FrontEnd]:
    """Return what opens an export's front end, once: its own graph in ONNX Runtime, or what training used where an
    older version made the export."""
    return cache(lambda: _graph(folder, manifest) if "front_end_graph" in manifest else _as_in_training(manifest))


def _graph(folder: Path, manifest: Mapping[str, Any]) -> FrontEnd:
    from .devices.host.onnx_runtime import make_session

    session = make_session(folder / manifest["front_end_graph"]["file"])
    name = manifest["front_end_graph"]["input"]["name"]

    def features(sound: np.ndarray) -> np.ndarray:
        made: np.ndarray = session.run(None, {name: sound[None].astype(np.float32)})[0][0]
        return made

    return features


def _as_in_training(manifest: Mapping[str, Any]) -> FrontEnd:
    from ..trainers.features import LogMel, Normalisation

    log_mel = LogMel.from_front_end(manifest["front_end"])
    normalisation = Normalisation.from_front_end(manifest["front_end"])
    return lambda sound: normalisation.apply(log_mel(sound[None]))[0]
