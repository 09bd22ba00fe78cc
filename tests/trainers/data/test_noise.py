"""Noise: its level, its colour and the ratio at which it is mixed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from repareto.trainers.data import noise


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def rms(waveforms: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(waveforms, dtype=np.float64).mean(axis=1))


def test_speech_and_noise_stand_the_asked_ratio_apart() -> None:
    speech = noise.pink(5, 4000, rng()) * 0.1
    snr_db = np.array([-10.0, 0.0, 10.0, 20.0, 30.0])
    mixed = noise.add_at_snr(speech, noise.white(5, 4000, rng()), snr_db)
    added = mixed.astype(np.float64) - speech
    np.testing.assert_allclose(20 * np.log10(rms(speech) / rms(added)), snr_db, atol=0.01)


def test_digital_silence_stays_silent() -> None:
    silent = np.zeros((2, 100), np.float32)
    assert not noise.add_at_snr(silent, noise.white(2, 100, rng()), np.zeros(2)).any()
    assert not noise.at_rms(silent, 1.0).any()


@pytest.mark.parametrize(("make", "slope_db"), [(noise.white, 0.0), (noise.pink, -3.01)])
def test_colour(make: Callable[[int, int, np.random.Generator], np.ndarray], slope_db: float) -> None:
    power = np.square(np.abs(np.fft.rfft(make(200, 1024, rng())))).mean(axis=0)
    octaves = [10 * np.log10(power[start : 2 * start].mean()) for start in (8, 16, 32, 64, 128)]
    np.testing.assert_allclose(np.diff(octaves), slope_db, atol=0.6)


def test_babble_is_made_of_the_given_clips_at_full_level() -> None:
    clips = np.zeros((3, 200), np.float32)
    clips[:, :100] = np.sin(np.arange(100) / 5)
    mixed = noise.babble(clips, 7, rng())
    np.testing.assert_allclose(rms(mixed), 1.0, rtol=1e-5)
    assert len(np.unique(mixed, axis=0)) == 7


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_any_count(count: int) -> None:
    clips = noise.white(2, 50, rng())
    assert noise.generated_with_babble(count, 50, clips, rng()).shape == (count, 50)


def test_quiet_is_quiet() -> None:
    level_db = 20 * np.log10(rms(noise.quiet(noise.white(50, 400, rng()), rng())))
    low, high = noise.QUIET_RMS_DB
    assert ((level_db > low - 0.1) & (level_db < high + 0.1)).all()


def test_windows_come_from_their_region_and_short_recordings_do_not_fail() -> None:
    ramp = np.arange(1000, dtype=np.float32)
    for region in ((0.0, 0.8), (0.8, 0.9), (0.9, 1.0)):
        drawn = noise.windows([ramp], 50, 60, region, rng())
        assert drawn.min() >= region[0] * 1000
        assert drawn.max() < region[1] * 1000
        np.testing.assert_array_equal(np.diff(drawn, axis=1), 1.0)
    np.testing.assert_array_equal(noise.windows([ramp], 2, 1000, (0.9, 1.0), rng()), [ramp, ramp])
