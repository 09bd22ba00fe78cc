"""Sound that comes piece by piece is the sound of the whole."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from repareto.trainers.data.audio import UnreadableAudio
from repareto.trainers.data.audio_stream import file_blocks, pcm_blocks

RATE_HZ = 16000


def sound(seconds: float, rate_hz: int) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)


@pytest.mark.parametrize(("rate_hz", "channels", "suffix"), [(16000, 1, "wav"), (44100, 2, "flac"), (8000, 1, "wav")])
def test_a_file_of_any_rate_comes_as_mono_of_one(rate_hz: int, channels: int, suffix: str, tmp_path: Path) -> None:
    samples = sound(1.7, rate_hz)
    path = tmp_path / f"s.{suffix}"
    # The second channel is silent, so that the mean is half of the first.
    soundfile.write(path, np.stack([samples, 0 * samples], 1)[:, :channels], rate_hz)
    heard = np.concatenate(list(file_blocks(path, RATE_HZ)))
    expected = soxr.resample(samples / channels, rate_hz, RATE_HZ)
    assert len(heard) == pytest.approx(1.7 * RATE_HZ, abs=2)
    assert np.abs(heard - expected[: len(heard)]).max() < 2e-3


def test_raw_samples_come_from_a_pipe() -> None:
    samples = sound(1.2, 8000)
    content = np.round(samples * 32768).astype("<i2").tobytes()
    heard = np.concatenate(list(pcm_blocks(io.BytesIO(content + b"\x01"), 8000, RATE_HZ)))
    expected = soxr.resample(samples, 8000, RATE_HZ)
    assert np.abs(heard - expected[: len(heard)]).max() < 1e-3
    assert len(heard) == pytest.approx(1.2 * RATE_HZ, abs=2)


class Trickle(io.BytesIO):
    """A pipe that gives an odd number of bytes at a time."""

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(min(777, size or 777))


def test_samples_may_come_in_halves() -> None:
    samples = sound(0.5, RATE_HZ)
    content = np.round(samples * 32768).astype("<i2").tobytes()
    heard = np.concatenate(list(pcm_blocks(Trickle(content), RATE_HZ, RATE_HZ)))
    assert len(heard) == len(samples) and np.abs(heard - samples).max() < 1e-4


def test_what_does_not_decode_is_said(tmp_path: Path) -> None:
    broken, cut, odd, raw = (tmp_path / name for name in ("broken.wav", "cut.flac", "odd.wav", "sound.raw"))
    broken.write_bytes(b"no sound at all")
    with pytest.raises(UnreadableAudio, match="format not recogni"):
        list(file_blocks(broken, RATE_HZ))
    with pytest.raises(UnreadableAudio, match="no such file"):
        list(file_blocks(tmp_path / "missing.wav", RATE_HZ))
    raw.write_bytes(bytes(3200))
    with pytest.raises(UnreadableAudio, match="raw samples come from a pipe"):
        list(file_blocks(raw, RATE_HZ))
    soundfile.write(odd, np.array([0.0, np.nan, 0.5], np.float32), RATE_HZ, subtype="FLOAT")
    with pytest.raises(UnreadableAudio, match="no numbers"):
        list(file_blocks(odd, RATE_HZ))
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * RATE_HZ)
    soundfile.write(cut, noise, RATE_HZ)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(UnreadableAudio):
        list(file_blocks(cut, RATE_HZ))
