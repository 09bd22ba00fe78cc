"""How the log-mel features of three splits become one normalised dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...spaces.errors import UserError
from ..features import LogMel, Normalisation
from .dataset import Dataset, SoundStream, Split


def clip_samples(source: str, clip_seconds: float, log_mel: LogMel) -> int:
    """Samples of one clip; raises :class:`UserError` where that is less than one frame."""
    samples = round(clip_seconds * log_mel.sample_rate_hz)
    if log_mel.frames(samples) < 1:
        raise UserError(
            f"{source}: clip_seconds {clip_seconds}: must hold at least one frame of {log_mel.hop_ms:g} ms (try 1.0)"
        )
    return samples


def log_mel_dataset(
    name: str,
    labels: Sequence[str],
    splits: Mapping[str, Split],
    noise: np.ndarray,
    log_mel: LogMel,
    clip_seconds: float,
    notes: Sequence[str],
    streams: Mapping[str, SoundStream] | None = None,
) -> Dataset:
    """Normalise by the training split's mean and deviation; float16, which keeps 0.01 dB at the levels that occur.

    ``splits`` (train, validation, test), ``streams`` and ``noise`` hold log-mel features as they come from ``log_mel``.
    """
    if not len(splits["train"]):
        raise UserError(f"data {name}: the train split is empty; add recordings or change the split")
    normalisation = Normalisation.of(_sound_of(splits["train"]))

    def normalised(features: np.ndarray) -> np.ndarray:
        halves = np.empty(features.shape, np.float16)
        # One by one, clips or the bands of a stream: what is large has no room for copies.
        for clip, half in zip(features, halves, strict=True):
            half[:] = normalisation.apply(clip)
        return halves

    def of_split(split: str) -> Split:
        return replace(splits[split], features=normalised(splits[split].features))

    return Dataset(
        name=name,
        labels=tuple(labels),
        train=of_split("train"),
        validation=of_split("validation"),
        test=of_split("test"),
        front_end={
            **log_mel.describe(),
            "clip_seconds": clip_seconds,
            "frames": int(noise.shape[2]),
            "mean": normalisation.mean,
            "std": normalisation.std,
        },
        noise=normalised(noise),
        notes=tuple(notes),
        streams={
            split: replace(stream, features=normalised(stream.features)) for split, stream in (streams or {}).items()
        },
    )


def _sound_of(split: Split) -> np.ndarray:
    """The features without the silence behind examples: of any number of examples, or of bands (b, frames of all)."""
    if split.frames is None:
        return split.features
    return np.concatenate([clip[:, :count] for clip, count in zip(split.features, split.frames, strict=True)], axis=1)
