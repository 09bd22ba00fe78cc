"""Rooms, bands and codecs: each does what it says, and words stay where they were."""

from __future__ import annotations

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import channels as module
from repareto.trainers.data.channels import (
    BANDS_HZ,
    CODECS,
    Channels,
    band_limited,
    impulse_response,
    in_a_room,
    installed_codecs,
    libsndfile_version,
    through_channels,
    through_codec,
)

RATE_HZ = 16000


def speech_like(samples: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """A gliding voice of many harmonics in the middle third of the clip, silence around it: float32 (samples,)."""
    rng = np.random.default_rng(seed)
    third = samples // 3
    phase = 2 * np.pi * np.cumsum(np.linspace(180, 120, third)) / RATE_HZ
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.hanning(third)
    clip = np.zeros(samples, np.float32)
    clip[third : 2 * third] = 0.2 * voice + 0.002 * rng.standard_normal(third)
    return clip


def white(seconds: float = 2.0) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))).astype(np.float32)


def power_db(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    """Mean power within a band, in dB."""
    spectrum = np.abs(np.fft.rfft(waveform.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(waveform), 1 / RATE_HZ)
    return float(10 * np.log10(spectrum[(hertz >= low_hz) & (hertz < high_hz)].mean() + 1e-20))


def lag(late: np.ndarray, early: np.ndarray) -> int:
    """Samples by which ``late`` has to be moved back to fit ``early`` best."""
    size = 2 * len(early)
    correlation = np.fft.irfft(np.fft.rfft(late, size) * np.fft.rfft(early, size).conj(), size)
    best = int(np.argmax(correlation))
    return best if best < len(early) else best - size


def test_shape_and_type_stay_and_the_input_too() -> None:
    clips = np.stack([speech_like(seed=seed) for seed in range(8)])
    before = clips.copy()
    heard = through_channels(clips, RATE_HZ, np.random.default_rng(0))
    assert heard.shape == clips.shape and heard.dtype == np.float32
    assert np.isfinite(heard).all()
    np.testing.assert_array_equal(clips, before)
    changed = [not np.array_equal(*pair) for pair in zip(heard, clips, strict=True)]
    assert 4 <= sum(changed) <= 8


def test_the_same_seed_gives_the_same_bytes() -> None:
    clips = np.stack([speech_like(seed=seed) for seed in range(12)])
    first, second, other = (through_channels(clips, RATE_HZ, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_what_is_drawn_for_a_clip_does_not_depend_on_what_the_others_hold() -> None:
    clips = np.stack([speech_like(seed=seed) for seed in range(6)])
    silent = clips.copy()
    silent[:5] = 0
    heard, alone = (through_channels(given, RATE_HZ, np.random.default_rng(1)) for given in (clips, silent))
    np.testing.assert_array_equal(heard[5], alone[5])


def test_a_part_that_never_happens_does_nothing() -> None:
    clips = np.stack([speech_like(), white(1.0)])
    heard = through_channels(clips, RATE_HZ, np.random.default_rng(0), Channels(room=0, band=0, codec=0))
    np.testing.assert_array_equal(heard, clips)


@pytest.mark.parametrize("part", ["room", "band", "codec"])
def test_a_part_that_always_happens_changes_each_clip(part: str) -> None:
    clips = np.stack([speech_like(seed=seed) for seed in range(4)])
    usual = {"room": 0.0, "band": 0.0, "codec": 0.0, part: 1.0}
    heard = through_channels(clips, RATE_HZ, np.random.default_rng(0), Channels(**usual))
    assert (heard != clips).any(axis=1).all()


@pytest.mark.parametrize("rt60_seconds", [0.15, 0.4, 0.8])
def test_the_sound_of_a_room_decays_in_its_time(rt60_seconds: float) -> None:
    """By Schroeder's integration, from -5 to -25 dB below the echoes' whole energy."""
    response = impulse_response(rt60_seconds, 0.0, RATE_HZ, np.random.default_rng(0))
    assert np.square(response).sum() == pytest.approx(1)
    echoes = np.square(response[1:])
    left_db = 10 * np.log10(np.cumsum(echoes[::-1])[::-1] / echoes.sum())
    between = np.flatnonzero((left_db < -5) & (left_db > -25))
    slope_db_per_second = np.polyfit(between / RATE_HZ, left_db[between], 1)[0]
    assert -60 / slope_db_per_second == pytest.approx(rt60_seconds, rel=0.1)


@pytest.mark.parametrize("direct_db", [-3.0, 9.0])
def test_the_direct_sound_has_its_share(direct_db: float) -> None:
    response = impulse_response(0.3, direct_db, RATE_HZ, np.random.default_rng(0))
    assert 10 * np.log10(response[0] ** 2 / np.square(response[1:]).sum()) == pytest.approx(direct_db)


def test_a_room_rings_on_and_keeps_the_loudness() -> None:
    clip = speech_like()
    heard = in_a_room(clip, impulse_response(0.5, 0.0, RATE_HZ, np.random.default_rng(0)))
    end = 2 * len(clip) // 3
    after = slice(end + 200, end + 1600)
    assert np.square(heard[after]).sum() > 100 * np.square(clip[after]).sum()
    assert np.abs(heard[: len(clip) // 3]).max() < 1e-4  # nothing is heard before it is said
    steady = white()
    heard = in_a_room(steady, impulse_response(0.2, 0.0, RATE_HZ, np.random.default_rng(0)))
    assert np.square(heard).mean() == pytest.approx(np.square(steady).mean(), rel=0.15)


@pytest.mark.parametrize("band", BANDS_HZ)
def test_a_band_keeps_what_is_inside_and_takes_what_is_outside(band: str) -> None:
    low_hz, high_hz = BANDS_HZ[band]
    before, after = white(), band_limited(white(), band, RATE_HZ)

    def change_db(low: float, high: float) -> float:
        return power_db(after, low, high) - power_db(before, low, high)

    assert change_db(1.5 * low_hz + 10, 0.8 * high_hz) == pytest.approx(0, abs=0.5)
    assert change_db(1.2 * high_hz, RATE_HZ / 2) < -10
    if low_hz:
        assert change_db(0, 0.6 * low_hz) < -25
    assert lag(after, before) == 0


def test_a_band_that_the_sample_rate_has_not_is_left_alone() -> None:
    clip = speech_like()
    np.testing.assert_allclose(band_limited(clip, "8 kHz sampling", 8000), clip, atol=1e-7)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_is_heard_but_not_much(codec: str) -> None:
    if codec not in installed_codecs():
        pytest.skip(f"this libsndfile has no {codec}")
    clip = speech_like()
    heard = through_codec(clip, codec, RATE_HZ)
    assert heard.shape == clip.shape and heard.dtype == np.float32
    noise = np.square(heard - clip).mean() / np.square(clip).mean()
    assert 1e-7 < noise < 0.25
    assert np.corrcoef(heard, clip)[0, 1] > 0.9
    assert abs(lag(heard, clip)) <= 1
    np.testing.assert_array_equal(through_codec(clip, codec, RATE_HZ), heard)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("sample_rate_hz", [8000, 22050])
def test_a_codec_at_another_rate_keeps_the_length_and_the_place(codec: str, sample_rate_hz: int) -> None:
    if codec not in installed_codecs():
        pytest.skip(f"this libsndfile has no {codec}")
    clip = speech_like(sample_rate_hz - 7)
    heard = through_codec(clip, codec, sample_rate_hz)
    assert heard.shape == clip.shape
    assert abs(lag(heard, clip)) <= 3


def test_gsm_has_nothing_above_4_khz() -> None:
    heard = through_codec(white(), "GSM", RATE_HZ)
    assert power_db(heard, 4200, 8000) < power_db(heard, 500, 3000) - 30


def test_the_end_of_a_clip_is_not_lost_in_the_delay() -> None:
    clip = np.roll(speech_like(), RATE_HZ // 3)  # the word ends with the clip
    for codec in installed_codecs():
        heard = through_codec(clip, codec, RATE_HZ)
        last = slice(-RATE_HZ // 8, None)
        assert np.corrcoef(heard[last], clip[last])[0, 1] > 0.8, codec


def test_what_is_too_loud_is_clipped_and_not_wrapped() -> None:
    clip = 4 * speech_like()
    assert np.abs(clip).max() > 1.2
    for codec in installed_codecs():
        heard = through_codec(clip, codec, RATE_HZ)
        assert np.corrcoef(heard, np.clip(clip, -1, 1))[0, 1] > 0.9, codec


def test_silence_stays_finite_and_quiet() -> None:
    silence = np.zeros((24, RATE_HZ // 2), np.float32)
    heard = through_channels(silence, RATE_HZ, np.random.default_rng(0), Channels(room=1, band=1, codec=1))
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() < 1e-2
    for codec in installed_codecs():
        assert np.abs(through_codec(silence[0], codec, RATE_HZ)).max() < 1e-2, codec


def test_a_clip_of_one_frame() -> None:
    heard = through_channels(
        np.ones((12, 320), np.float32) * 0.1, RATE_HZ, np.random.default_rng(0), Channels(room=1, band=1, codec=1)
    )
    assert heard.shape == (12, 320) and np.isfinite(heard).all()


def test_no_clips() -> None:
    assert through_channels(np.zeros((0, 100), np.float32), RATE_HZ, np.random.default_rng(0)).shape == (0, 100)


def test_only_installed_codecs_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(installed_codecs()) <= set(CODECS)
    assert {"mu-law", "A-law"} <= set(installed_codecs())  # of every libsndfile
    assert libsndfile_version().count(".") >= 1
    monkeypatch.setattr(module, "installed_codecs", lambda: ("mu-law",))
    clips = np.stack([speech_like(seed=seed) for seed in range(6)])
    heard = through_channels(clips, RATE_HZ, np.random.default_rng(0), Channels(room=0, band=0, codec=1))
    np.testing.assert_array_equal(heard, np.stack([through_codec(clip, "mu-law", RATE_HZ) for clip in clips]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"room": 1.5}, "channels room 1.5: is a probability; it must be from 0 to 1"),
        ({"band": -0.1}, "channels band -0.1: is a probability"),
        ({"codec": float("nan")}, "channels codec nan: is a probability"),
        ({"rt60_seconds": (0.6, 0.1)}, "channels rt60_seconds 0.6 to 0.1: must be positive and not reversed"),
        ({"rt60_seconds": (0.0, 0.1)}, "channels rt60_seconds 0.0 to 0.1: must be positive"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Channels(**settings)  # type: ignore[arg-type]
