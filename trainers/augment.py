"""Augmentation of log-mel features: features are computed once and shared, every epoch hears them differently.

What happens to sound is done on mel powers, where it is simple: powers of independent sounds add, a gain multiplies,
and late reverberation smears power along time. Batches and banks hold normalised features; the numbers
that undo it come from the dataset's front end (:meth:`Augment.fitted_to`).

Shape legend: n examples, b mel bands, t frames, m noises in the bank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..spaces.errors import UserError
from .features import POWER_FLOOR, Normalisation

NEPERS_PER_DB = math.log(10.0) / 10.0  # of power


@dataclass(frozen=True)
class Augment:
    """Random room, shift, noise, gain and masks; each example of a batch draws its own.

    ``Augment(...).fitted_to(dataset.front_end)`` makes the one that a trainer calls.
    """

    room_probability: float = 0.3
    """Share of examples that are placed in a reverberant room."""
    room_rt60_s: tuple[float, float] = (0.1, 0.5)
    """Range of the time in which the room's sound falls by 60 dB."""
    shift_probability: float = 0.8
    """Share of examples that are moved along time."""
    shift_ms: float = 100.0
    """Largest move in either direction; whole frames, the first or last frame fills the gap."""
    noise_probability: float = 0.5
    """Share of examples to which a noise of the bank is added."""
    noise_snr_db: tuple[float, float] = (5.0, 30.0)
    """Range of the ratio of the clip's mean power to the noise's."""
    gain_probability: float = 0.8
    """Share of examples that are made louder or softer."""
    gain_db: float = 6.0
    """Largest gain in either direction."""
    mask_probability: float = 0.0
    """Share of examples with one stripe of frames and one of bands blanked (SpecAugment, arXiv:1904.08779)."""
    mask_frames: int = 5
    """Greatest width of the stripe of frames."""
    mask_bands: int = 4
    """Greatest width of the stripe of bands."""
    normalisation: Normalisation = Normalisation()
    """How the batch and the bank were normalised."""
    hop_ms: float = 20.0
    """Time between two frames of the batch."""

    def __post_init__(self) -> None:
        for name in ("room", "shift", "noise", "gain", "mask"):
            probability = getattr(self, f"{name}_probability")
            if not 0 <= probability <= 1:
                raise UserError(f"augment {name}_probability {probability}: must lie between 0 and 1")
        for name in ("room_rt60_s", "noise_snr_db"):
            low, high = getattr(self, name)
            if not low <= high:
                raise UserError(f"augment {name} {low} to {high}: the range is reversed")
        for name in ("shift_ms", "gain_db", "mask_frames", "mask_bands"):
            if getattr(self, name) < 0:
                raise UserError(f"augment {name} {getattr(self, name)}: must not be negative")
        if not (self.room_rt60_s[0] > 0 and self.hop_ms > 0):
            raise UserError(f"augment room_rt60_s {self.room_rt60_s}, hop_ms {self.hop_ms}: must be positive")

    def fitted_to(self, front_end: Mapping[str, Any]) -> Augment:
        """The same augmentation for features of this ``front_end`` (its mean, std and hop_ms)."""
        return replace(self, normalisation=Normalisation.from_front_end(front_end), hop_ms=front_end["hop_ms"])

    def __call__(
        self, batch: torch.Tensor, noise_bank: torch.Tensor | None, generator: torch.Generator
    ) -> torch.Tensor:
        """A new batch (n, b, t), float32; ``noise_bank`` is (m, b, t) or None, all three on one device."""
        power = self.normalisation.undo(batch.float()).exp()
        count = len(power)
        power = reverberate(power, self._power_decay_a_frame(count, generator))
        power = shift(power, self._shift_frames(count, generator))
        if noise_bank is not None and len(noise_bank) > 0:
            chosen = torch.randint(
                len(noise_bank), (count,), generator=generator, device=generator.device, dtype=torch.long
            )
            noise = self.normalisation.undo(noise_bank[chosen].float()).exp()
            power = power + noise * self._noise_scale(power, noise, generator)
        log_gain = NEPERS_PER_DB * self.gain_db * _uniform(count, -1.0, 1.0, generator)
        log_gain = torch.where(_happens(self.gain_probability, count, generator), log_gain, 0.0)
        log_power = power.clamp_min(POWER_FLOOR).log() + log_gain[:, None, None]
        return self._masked(self.normalisation.apply(log_power), generator)

    def _power_decay_a_frame(self, count: int, generator: torch.Generator) -> torch.Tensor:
        rt60_s = _uniform(count, *self.room_rt60_s, generator)
        decay = 10.0 ** (-6.0 * self.hop_ms / 1000.0 / rt60_s)
        return torch.where(_happens(self.room_probability, count, generator), decay, 0.0)

    def _shift_frames(self, count: int, generator: torch.Generator) -> torch.Tensor:
        frames = (_uniform(count, -1.0, 1.0, generator) * (self.shift_ms / self.hop_ms)).round().long()
        return torch.where(_happens(self.shift_probability, count, generator), frames, 0)

    def _noise_scale(self, power: torch.Tensor, noise: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        snr_db = _uniform(len(power), *self.noise_snr_db, generator)
        ratio = power.mean((1, 2)) / noise.mean((1, 2)) / 10.0 ** (snr_db / 10.0)
        happens = _happens(self.noise_probability, len(power), generator)
        return torch.where(happens, ratio, 0.0)[:, None, None]

    def _masked(self, features: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.mask_probability == 0:
            return features
        count, bands, frames = features.shape
        happens = _happens(self.mask_probability, count, generator)[:, None]
        masked_bands = happens & _stripe(count, bands, self.mask_bands, generator)
        masked_frames = happens & _stripe(count, frames, self.mask_frames, generator)
        # 0 is the dataset's mean once features are normalised.
        return features.masked_fill(masked_bands[:, :, None] | masked_frames[:, None, :], 0.0)


def reverberate(power: torch.Tensor, decay_a_frame: torch.Tensor) -> torch.Tensor:
    """Smear ``power`` (n, b, t) along time by an exponential decay, ``decay_a_frame`` (n,) in [0, 1).

    Approximates a room in the energy domain: late reverberation is noise whose energy decays exponentially (J.-D.
    Polack, 1988), so powers, not amplitudes, are convolved with it. A long sound keeps its level, and a decay of 0
    changes nothing. Early echoes and the room's colour are left out.
    """
    frames = torch.arange(power.shape[-1], device=power.device)
    lag = frames - frames[:, None]  # [from, to]
    kernel = decay_a_frame[:, None, None] ** lag.clamp_min(0) * (lag >= 0)
    return power @ kernel * (1.0 - decay_a_frame[:, None, None])


def shift(power: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Move each example of ``power`` (n, b, t) by its ``frames`` (n,), later where positive; edges repeat."""
    last = power.shape[-1] - 1
    source = (torch.arange(last + 1, device=power.device) - frames[:, None]).clamp(0, last)
    return power.gather(2, source[:, None, :].expand(-1, power.shape[1], -1))


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def _happens(probability: float, count: int, generator: torch.Generator) -> torch.Tensor:
    return _uniform(count, 0.0, 1.0, generator) < probability


def _stripe(count: int, length: int, widest: int, generator: torch.Generator) -> torch.Tensor:
    width = (_uniform(count, 0.0, 1.0, generator) * (widest + 1)).floor()
    start = (_uniform(count, 0.0, 1.0, generator) * (length - width + 1).clamp_min(1)).floor()
    position = torch.arange(length, device=generator.device)
    return (position >= start[:, None]) & (position < (start + width)[:, None])
