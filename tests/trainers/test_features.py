"""Log-mel features against an independent, naive computation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.spaces.errors import UserError
from repareto.trainers.features import CLIPS_PER_CHUNK, FeatureStream, LogMel, Normalisation


def naive_mel_weight(log_mel: LogMel, band: int, bin_index: int) -> float:
    """The height of HTK's triangle ``band`` at one FFT bin, from its three corners."""
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in (log_mel.low_hz, log_mel.high_hz))
    corners = [lowest + (highest - lowest) * (band + k) / (log_mel.bands + 1) for k in range(3)]
    left, centre, right = (700 * (10 ** (mel / 2595) - 1) for mel in corners)
    frequency = bin_index * log_mel.sample_rate_hz / log_mel.fft_size
    if left < frequency <= centre:
        return (frequency - left) / (centre - left)
    if centre < frequency < right:
        return (right - frequency) / (right - centre)
    return 0.0


def naive_log_mel(log_mel: LogMel, waveform: np.ndarray) -> np.ndarray:
    """Frame by frame with numpy's FFT in float64: (bands, frames)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(log_mel.window_samples) / log_mel.window_samples)
    columns = []
    for frame in range(len(waveform) // log_mel.hop_samples):
        end = (frame + 1) * log_mel.hop_samples
        heard = np.concatenate([np.zeros(log_mel.window_samples), waveform[:end]])[-log_mel.window_samples :]
        power = np.abs(np.fft.rfft(heard * window, log_mel.fft_size)) ** 2
        columns.append(np.log(np.maximum(power @ log_mel.mel_matrix(), 1e-6)))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("log_mel", [LogMel(), LogMel(8000, 25, 10, 20, 0, 4000)])
def test_mel_matrix_is_htks_triangles(log_mel: LogMel) -> None:
    bins = log_mel.fft_size // 2 + 1
    naive = [[naive_mel_weight(log_mel, band, index) for band in range(log_mel.bands)] for index in range(bins)]
    np.testing.assert_allclose(log_mel.mel_matrix(), naive, atol=1e-9)


def test_neighbouring_triangles_share_all_power_between_the_outer_centres() -> None:
    weights = LogMel().mel_matrix()
    inner = np.flatnonzero(weights[:, 0])[-1], np.flatnonzero(weights[:, -1])[0]
    np.testing.assert_allclose(weights[inner[0] : inner[1] + 1].sum(axis=1), 1.0)


@pytest.mark.parametrize("log_mel", [LogMel(), LogMel(window_ms=30, hop_ms=10), LogMel(8000, 40, 20, 20, 50, 3800)])
def test_features_equal_the_naive_ones(log_mel: LogMel) -> None:
    waveform = np.random.default_rng(0).standard_normal(log_mel.sample_rate_hz // 2) * 0.1
    np.testing.assert_allclose(
        log_mel(waveform[None].astype(np.float32))[0], naive_log_mel(log_mel, waveform), atol=2e-3
    )


def test_one_second_gives_40_bands_and_50_frames() -> None:
    features = LogMel()(np.zeros((2, 16000), np.float32))
    assert features.shape == (2, 40, 50)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, np.log(1e-6), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(0, 3000), rate=st.sampled_from([8000, 16000]))
def test_frames_foretells_the_shape(samples: int, rate: int) -> None:
    log_mel = LogMel(sample_rate_hz=rate, high_hz=3800)
    if samples >= log_mel.hop_samples:
        assert log_mel(np.zeros((1, samples), np.float32)).shape == (1, 40, log_mel.frames(samples))


def test_chunks_do_not_show() -> None:
    clips = np.random.default_rng(0).standard_normal((CLIPS_PER_CHUNK + 3, 800)).astype(np.float32)
    log_mel = LogMel()
    np.testing.assert_allclose(log_mel(clips)[-3:], log_mel(clips[-3:]), rtol=1e-5, atol=1e-5)
    assert log_mel(clips[:0]).shape == (0, 40, 2)


def test_a_frame_hears_nothing_of_what_comes_after_its_hop() -> None:
    log_mel = LogMel()
    clip = np.random.default_rng(0).standard_normal((1, 3200)).astype(np.float32)
    changed = clip.copy()
    changed[0, 5 * 320 :] = 0.0
    before, after = log_mel(clip), log_mel(changed)
    np.testing.assert_allclose(before[..., :5], after[..., :5], rtol=1e-6)
    assert (before[..., 5] != after[..., 5]).all()


def test_description_is_json_and_leads_back() -> None:
    log_mel = LogMel(8000, 25, 10, 20, 0, 4000)
    assert LogMel.from_front_end(json.loads(json.dumps(log_mel.describe()))) == log_mel


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate_hz": 0}, "sample_rate_hz 0"),
        ({"hop_ms": 0}, "hop_ms 0"),
        ({"hop_ms": 40}, "at most window_ms"),
        ({"hop_ms": 0.01}, "less than one sample"),
        ({"high_hz": 9000}, "half of sample_rate_hz"),
        ({"low_hz": 7600}, "must rise"),
        ({"bands": 0}, "bands 0"),
        ({"bands": 200}, "too many"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LogMel(**change)  # type: ignore[arg-type]


def test_normalisation_brings_mean_0_and_deviation_1_and_back() -> None:
    features = np.random.default_rng(0).normal(-5, 3, (50, 4, 6)).astype(np.float32)
    normalisation = Normalisation.of(features)
    assert normalisation.mean == pytest.approx(features.mean(dtype=np.float64))
    assert normalisation.std == pytest.approx(features.std(dtype=np.float64))
    normalised = normalisation.apply(features)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalisation.undo(normalised), features, atol=1e-5)


def test_equal_features_cannot_be_normalised() -> None:
    with pytest.raises(UserError, match="std 0"):
        Normalisation.of(np.ones((2, 3, 4), np.float32))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 700), max_size=12),
    st.sampled_from([LogMel(), LogMel(window_ms=25, hop_ms=10, bands=20), LogMel(8000, 20, 20, 12, 100, 3900)]),
)
def test_pieces_of_any_length_give_the_frames_of_the_whole(lengths: list[int], log_mel: LogMel) -> None:
    samples = np.random.default_rng(sum(lengths)).normal(0, 0.1, sum(lengths)).astype(np.float32)
    stream = FeatureStream(log_mel)
    pieces = np.split(samples, np.cumsum(lengths)[:-1]) if lengths else []
    frames = [stream.push(piece) for piece in pieces]
    heard = np.concatenate([np.zeros((log_mel.bands, 0), np.float32), *frames], axis=1)
    assert heard.shape == (log_mel.bands, len(samples) // log_mel.hop_samples)
    if heard.size:
        np.testing.assert_allclose(heard, log_mel(samples[None])[0], atol=1e-4)
