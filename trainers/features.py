"""Log-mel features: how a waveform becomes what the model sees, here and on the device.

Shape legend: n clips, s samples, b mel bands, t frames.
Mel scale and triangles after HTK: S. Young et al., "The HTK Book", v3.4, section 5.4
(``mel = 2595 log10(1 + f / 700)``; triangles linear in Hz with a peak of 1, no area normalisation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn import functional

from ..spaces.errors import UserError

# -60 dB of a full-scale sine in one band is about 1e-2; this floor lies below the noise of any microphone.
POWER_FLOOR = 1e-6
CLIPS_PER_CHUNK = 256

Features = TypeVar("Features", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class LogMel:
    """Log-mel front end; ``LogMel()`` makes 40 bands x 50 frames of one second at 16 kHz.

    Frame i ends with hop i and looks back over one window, zeros standing before the clip: a device that streams
    audio computes the same frame as soon as the hop is in, and a clip gives one frame a hop.
    """

    sample_rate_hz: int = 16000
    """Samples a second of the waveforms that come in."""
    window_ms: float = 32.0
    """Length of the (periodic) Hann window; 32 ms at 16 kHz is 512 samples, a power of two."""
    hop_ms: float = 20.0
    """Time between two frames."""
    bands: int = 40
    """Number of mel bands."""
    low_hz: float = 60.0
    """Lower edge of the first band."""
    high_hz: float = 7600.0
    """Upper edge of the last band; at most half the sample rate."""

    def __post_init__(self) -> None:
        if self.sample_rate_hz <= 0:
            raise UserError(f"log_mel sample_rate_hz {self.sample_rate_hz}: must be positive (try 16000)")
        if not 0 < self.hop_ms <= self.window_ms:
            raise UserError(f"log_mel hop_ms {self.hop_ms}: must be above 0 and at most window_ms ({self.window_ms})")
        if self.hop_samples < 1:
            raise UserError(f"log_mel hop_ms {self.hop_ms}: less than one sample at {self.sample_rate_hz} Hz")
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise UserError(
                f"log_mel low_hz {self.low_hz} to high_hz {self.high_hz}: must rise within 0 to"
                f" {self.sample_rate_hz / 2:g} Hz, half of sample_rate_hz"
            )
        if self.bands < 1:
            raise UserError(f"log_mel bands {self.bands}: must be at least 1 (try 40)")
        if (self.mel_matrix().sum(axis=0) == 0).any():
            raise UserError(
                f"log_mel bands {self.bands}: too many for an FFT of {self.fft_size} samples, some would be empty;"
                " use fewer bands or a longer window_ms"
            )

    @property
    def window_samples(self) -> int:
        return round(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop_samples(self) -> int:
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def past_samples(self) -> int:
        """Samples before a hop that its frame looks back on."""
        return self.window_samples - self.hop_samples

    @property
    def fft_size(self) -> int:
        """The window's length rounded up to a power of two."""
        return 1 << (self.window_samples - 1).bit_length()

    def frames(self, samples: int) -> int:
        """Number of frames of a clip of ``samples`` samples: one a full hop."""
        return samples // self.hop_samples

    def mel_matrix(self) -> np.ndarray:
        """Weights of shape (fft_size // 2 + 1, bands), float64, that turn a power spectrum into band powers."""
        bin_hz = np.linspace(0.0, self.sample_rate_hz / 2, self.fft_size // 2 + 1)
        edges_hz = _mel_to_hz(np.linspace(_hz_to_mel(self.low_hz), _hz_to_mel(self.high_hz), self.bands + 2))
        left_hz, centre_hz, right_hz = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
        rising = (bin_hz[:, None] - left_hz) / (centre_hz - left_hz)
        falling = (right_hz - bin_hz[:, None]) / (right_hz - centre_hz)
        return np.maximum(0.0, np.minimum(rising, falling))

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        """Natural logarithm of the mel powers of ``waveforms`` (n, s), full scale 1: (n, b, t), float32.

        Works through the clips in chunks, so memory beside the result stays bounded.
        """
        count, samples = waveforms.shape
        features = np.empty((count, self.bands, self.frames(samples)), np.float32)
        mel = _Mel(self)
        for start in range(0, count, CLIPS_PER_CHUNK):
            chunk = torch.from_numpy(np.ascontiguousarray(waveforms[start : start + CLIPS_PER_CHUNK], np.float32))
            features[start : start + len(chunk)] = mel(functional.pad(chunk, (self.past_samples, 0))).numpy()
        return features

    def describe(self) -> dict[str, Any]:
        """All that a device needs to compute the same features, as JSON types."""
        return {
            "kind": "log_mel",
            "sample_rate_hz": self.sample_rate_hz,
            "window": "hann, periodic",
            "window_ms": self.window_ms,
            "window_samples": self.window_samples,
            "hop_ms": self.hop_ms,
            "hop_samples": self.hop_samples,
            "fft_size": self.fft_size,
            "framing": "frame i covers the window_samples samples that end with hop i, zeros before the clip",
            "spectrum": "power, not scaled",
            "mel_scale": "htk, triangles linear in Hz, peak 1",
            "bands": self.bands,
            "low_hz": self.low_hz,
            "high_hz": self.high_hz,
            "log": "natural",
            "power_floor": POWER_FLOOR,
        }

    @classmethod
    def from_front_end(cls, front_end: Mapping[str, Any]) -> LogMel:
        """The front end that :meth:`describe` described, for instance that of a dataset or an export's manifest."""
        names = ("sample_rate_hz", "window_ms", "hop_ms", "bands", "low_hz", "high_hz")
        return cls(**{name: front_end[name] for name in names})


class _Mel:
    """The tables of a front end, made once."""

    def __init__(self, log_mel: LogMel) -> None:
        self._log_mel = log_mel
        self._window = torch.hann_window(log_mel.window_samples)
        self._matrix = torch.from_numpy(log_mel.mel_matrix().astype(np.float32))

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Frames (n, b, t) of ``samples`` (n, s), of which the first ``past_samples`` are looked back on only."""
        settings = self._log_mel
        # torch.stft centres a short window in the FFT's span: the padding puts the window's end on the hop's end.
        before_window = (settings.fft_size - settings.window_samples) // 2
        after_window = settings.fft_size - settings.window_samples - before_window
        spectrum = torch.stft(
            functional.pad(samples, (before_window, after_window)),
            settings.fft_size,
            settings.hop_samples,
            settings.window_samples,
            self._window,
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        band_power = power.transpose(1, 2) @ self._matrix
        frames = settings.frames(samples.shape[1] - settings.past_samples)
        return band_power.clamp_min(POWER_FLOOR).log().transpose(1, 2)[..., :frames]


class FeatureStream:
    """Log-mel frames of a waveform that comes in pieces of any length: those of the whole, silence before it."""

    def __init__(self, log_mel: LogMel) -> None:
        self._log_mel, self._mel = log_mel, _Mel(log_mel)
        self._samples = np.zeros(log_mel.past_samples, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The frames (b, t) that ``samples`` (s,) complete, t may be 0."""
        held = np.concatenate([self._samples, samples.astype(np.float32)])
        hops = self._log_mel.frames(len(held) - self._log_mel.past_samples)
        used = hops * self._log_mel.hop_samples
        self._samples = held[used:]
        if not hops:
            return np.zeros((self._log_mel.bands, 0), np.float32)
        frames: np.ndarray = self._mel(torch.from_numpy(held[None, : used + self._log_mel.past_samples]))[0].numpy()
        return frames


@dataclass(frozen=True)
class Normalisation:
    """Two scalars that bring a dataset's features to mean 0 and standard deviation 1.

    Scalars and not one pair a band: a device needs one multiply-add, the bands keep their levels relative to each
    other, and augmentation in decibels stays exact under it.
    """

    mean: float = 0.0
    """Subtracted from each feature."""
    std: float = 1.0
    """What is left is divided by this."""

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise UserError(f"normalisation std {self.std}: must be positive (are all the clips the same?)")

    @classmethod
    def of(cls, features: np.ndarray) -> Normalisation:
        """Mean and standard deviation over all of ``features``, summed in float64."""
        mean = float(features.mean(dtype=np.float64))
        # Clip by clip, because a float64 copy of a large training split would not fit beside it.
        variance = np.mean([np.square(clip - mean, dtype=np.float64).mean() for clip in features])
        return cls(mean, float(np.sqrt(variance)))

    @classmethod
    def from_front_end(cls, front_end: Mapping[str, Any]) -> Normalisation:
        """The numbers that stand in a dataset's ``front_end``."""
        return cls(front_end["mean"], front_end["std"])

    def apply(self, features: Features) -> Features:
        """Normalised features, for arrays and tensors alike."""
        return (features - self.mean) / self.std

    def undo(self, features: Features) -> Features:
        """The features as they were before :meth:`apply`."""
        return features * self.std + self.mean


def _hz_to_mel(frequency_hz: float) -> float:
    return float(2595.0 * np.log10(1.0 + frequency_hz / 700.0))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
