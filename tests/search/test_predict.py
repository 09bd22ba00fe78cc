"""Features of files, as training made them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.search.predict import features_of
from repareto.spaces.errors import UserError
from repareto.trainers.data.audio import loudest_window
from repareto.trainers.features import LogMel, Normalisation

LOG_MEL = LogMel(bands=20)
NORMALISATION = Normalisation(mean=-3.0, std=2.0)
MANIFEST = {
    "input": {"shape": ["batch", 20, 25]},
    "front_end": {"kind": "log_mel", **LOG_MEL.describe(), "mean": -3.0, "std": 2.0},
}


def test_sound_is_cut_and_made_features_as_in_training(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).standard_normal(20_000).astype(np.float32) * np.linspace(0, 0.1, 20_000)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    expected = NORMALISATION.apply(LOG_MEL(loudest_window(sound.astype(np.float32), 8000)[None]))[0]
    np.testing.assert_allclose(features_of(tmp_path / "a.wav", MANIFEST), expected, atol=1e-4)


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    features = np.arange(500.0).reshape(20, 25)
    np.save(tmp_path / "a.npy", features)
    assert (features_of(tmp_path / "a.npy", MANIFEST) == features).all()


def test_a_transcriber_hears_all_and_silence_behind(tmp_path: Path) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    expected = NORMALISATION.apply(LOG_MEL(np.pad(sound, (0, 3_000))[None]))[0]
    transcriber = {**MANIFEST, "transcription": {"unit": "word"}}
    np.testing.assert_allclose(features_of(tmp_path / "a.wav", transcriber), expected, atol=1e-4)
    soundfile.write(tmp_path / "long.wav", np.tile(sound, 2), 16_000)
    with pytest.raises(UserError, match=r"long.wav: is 0.6 s long, and the model hears 0.5 s \(cut it there\)"):
        features_of(tmp_path / "long.wav", transcriber)


def test_what_cannot_be_heard_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(9000), 16_000)
    (tmp_path / "text.wav").write_text("no sound")
    np.save(tmp_path / "odd.npy", np.zeros((3, 3)))
    (tmp_path / "text.npy").write_text("no array")
    for name, complaint in (
        ("silent.wav", "is silent"),
        ("text.wav", "text.wav: "),
        ("odd.npy", r"has features of shape \(3, 3\), and the model takes \(20, 25\)"),
        ("text.npy", "holds no array of numbers"),
        ("missing.npy", "holds no array of numbers"),
    ):
        with pytest.raises(UserError, match=complaint):
            features_of(tmp_path / name, MANIFEST)
    pixels = {**MANIFEST, "front_end": {"kind": "pixels"}}
    with pytest.raises(UserError, match="the model takes pixels and no sound"):
        features_of(tmp_path / "silent.wav", pixels)
