"""Reading and shaping clips, from files that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from repareto.trainers.data.audio import (
    UnreadableAudio,
    loudest_window,
    read_clip,
    read_clips,
    seconds_of,
    without_silence,
)


def tone(hertz: float, sample_rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz)


def truncated_flac(path: Path, keep: float = 0.5) -> Path:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    soundfile.write(path, noise, 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_file_at_the_wanted_rate_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, tone(440, 16000), 16000)
    clip = read_clip(path, 16000)
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip, tone(440, 16000), atol=1e-4)


def test_8_khz_stereo_becomes_16_khz_mono(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([2 * tone(440, 8000), np.zeros(4000)], axis=1), 8000)
    clip = read_clip(path, 16000)
    assert clip.shape == (8000,)
    assert clip.dtype == np.float32
    np.testing.assert_allclose(clip[500:-500], tone(440, 16000)[500:-500], atol=2e-3)


def test_a_share_of_a_file_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    samples = np.random.default_rng(0).integers(-9000, 9000, 10_000).astype(np.int16)
    soundfile.write(path, samples, 16000)
    part = read_clip(path, 16000, 0.25, 0.75)
    np.testing.assert_array_equal(part, read_clip(path, 16000)[2500:7500])
    assert seconds_of(path) == 10_000 / 16000 and seconds_of(tmp_path / "nowhere.wav") == 0.0


def test_a_flac_file_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "piped.flac"
    soundfile.write(path, tone(440, 16000), 16000)
    content = bytearray(path.read_bytes())
    # The last 36 bits of STREAMINFO's rate, channels, bits and samples: an encoder that writes to a pipe leaves them 0.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(UnreadableAudio, match="does not say how long it is"):
        read_clip(path, 16000)
    assert seconds_of(path) == 0.0


def test_damage_of_any_kind_is_unreadable_with_a_reason(tmp_path: Path) -> None:
    text, empty, header, nan = (tmp_path / name for name in ("a.wav", "b.wav", "c.wav", "d.wav"))
    text.write_text("not audio")
    empty.write_bytes(b"")
    soundfile.write(header, np.zeros(0), 16000)
    soundfile.write(nan, np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    for path in (text, empty, header, nan, tmp_path / "missing.wav", truncated_flac(tmp_path / "e.flac")):
        with pytest.raises(UnreadableAudio, match=r"\w+") as caught:
            read_clip(path, 16000)
        assert str(tmp_path) not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(
    waveform=arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1, 1, width=16)),
    samples=st.integers(1, 50),
)
def test_loudest_window_by_brute_force(waveform: np.ndarray, samples: int) -> None:
    window = loudest_window(waveform, samples)
    assert window.shape == (samples,)
    if len(waveform) <= samples:
        before = (samples - len(waveform)) // 2
        np.testing.assert_array_equal(window[before : before + len(waveform)], waveform)
        assert np.count_nonzero(window) == np.count_nonzero(waveform)
        return
    windows = np.lib.stride_tricks.sliding_window_view(waveform, samples).astype(np.float64)
    assert np.square(window, dtype=np.float64).sum() == pytest.approx((windows**2).sum(axis=1).max())
    assert (windows == window).all(axis=1).any()


def test_many_files_come_back_in_order_without_the_unreadable(tmp_path: Path) -> None:
    paths = []
    for index in range(6):
        paths.append(tmp_path / f"{index}.wav")
        soundfile.write(paths[-1], np.full(100, index / 10), 16000, subtype="FLOAT")
    paths[2] = truncated_flac(tmp_path / "bad.flac")
    clips = read_clips(paths, 16000, 50)
    assert clips.kept.tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(clips.waveforms, np.array([0, 1, 3, 4, 5])[:, None] / 10 * np.ones(50), atol=1e-6)
    ((path, reason),) = clips.unreadable
    assert path == paths[2]
    assert reason


def test_no_files_are_no_clips() -> None:
    clips = read_clips([], 16000, 50)
    assert clips.waveforms.shape == (0, 50)
    assert clips.unreadable == ()


def test_silence_is_cut_from_both_ends_only() -> None:
    waveform = np.array([0, 9, 1000, 0, 0, -500, 10, -9, 0], np.int16)
    np.testing.assert_array_equal(without_silence(waveform), [1000, 0, 0, -500])
    assert len(without_silence(np.zeros(5, np.int16))) == 0
    assert len(without_silence(np.zeros(0, np.int16))) == 0
