"""Folders of recordings, written by the tests: what is loaded, what is noted, what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.spaces.errors import UserError
from repareto.trainers.data.cache import SPLITS
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.speech_commands import SpeechCommands
from repareto.trainers.features import LogMel, Normalisation

HERTZ = {"yes": 500, "no": 1000, "up": 2000, "left": 4000}
SPEAKERS = 30


def write_word(folder: Path, word: str, speakers: int = SPEAKERS) -> None:
    """A tone of half a second a speaker: 8 kHz stereo WAV, 16 kHz FLAC and 16 kHz WAV in turn."""
    (folder / word).mkdir(parents=True)
    rng = np.random.default_rng(HERTZ[word])
    for speaker in range(speakers):
        rate, suffix = ((8000, "wav"), (16000, "flac"), (16000, "WAV"))[speaker % 3]
        tone = np.sin(2 * np.pi * HERTZ[word] * np.arange(rate // 2) / rate) * 0.3
        tone += rng.normal(0, 0.01, len(tone))
        samples = np.stack([tone, tone], axis=1) if rate == 8000 else tone
        soundfile.write(folder / word / f"{speaker}_nohash_0.{suffix}", samples, rate)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three words with lists: speakers 0 to 4 validate, 5 to 9 test."""
    recordings = tmp_path / "recordings"
    for word in ("yes", "no", "up"):
        write_word(recordings, word)
    for name, speakers in (("validation_list.txt", range(5)), ("testing_list.txt", range(5, 10))):
        files = [
            f"{path.parent.name}/{path.name}"
            for path in recordings.glob("*/*")
            if int(path.name.split("_")[0]) in speakers
        ]
        (recordings / name).write_text("\n".join(files))
    return recordings


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def load(folder: Path, seed: int = 0, **settings: object) -> Dataset:
        return SpeechCommands(folder, cache=tmp_path / "cache", **settings).load(seed=seed)  # type: ignore[arg-type]

    return load


def counts(dataset: Dataset) -> dict[str, list[int]]:
    return {
        split: np.bincount(getattr(dataset, split).labels, minlength=len(dataset.labels)).tolist() for split in SPLITS
    }


def test_all_folders_are_classes_and_the_lists_split(folder: Path, load: Callable[..., Dataset]) -> None:
    dataset = load(folder)
    assert dataset.labels == ("no", "up", "yes")
    assert counts(dataset) == {"train": [20] * 3, "validation": [5] * 3, "test": [5] * 3}
    assert dataset.input_shape == (40, 50)
    assert dataset.train.features.dtype == np.float16
    assert dataset.train.labels.dtype == np.int64
    assert dataset.notes == ()


def test_features_are_those_of_the_word(folder: Path, load: Callable[..., Dataset]) -> None:
    dataset = load(folder)
    normalisation = Normalisation.from_front_end(dataset.front_end)
    log_mel = LogMel.from_front_end(dataset.front_end)
    for split in SPLITS:
        features = normalisation.undo(getattr(dataset, split).features.astype(np.float32))
        loudest_band = features.mean(axis=2).argmax(axis=1)
        for clip_band, label in zip(loudest_band, getattr(dataset, split).labels, strict=True):
            bin_index = round(HERTZ[dataset.labels[label]] / log_mel.sample_rate_hz * log_mel.fft_size)
            assert clip_band == log_mel.mel_matrix()[bin_index].argmax()


def test_training_features_are_normalised_and_the_front_end_says_how(
    folder: Path, load: Callable[..., Dataset]
) -> None:
    dataset = load(folder, clip_seconds=0.6)
    assert dataset.train.features.mean(dtype=np.float64) == pytest.approx(0, abs=1e-3)
    assert dataset.train.features.std(dtype=np.float64) == pytest.approx(1, abs=1e-3)
    front_end = json.loads(json.dumps(dataset.front_end))
    assert front_end["kind"] == "log_mel"
    assert front_end["clip_seconds"] == 0.6
    assert front_end["frames"] == dataset.input_shape[1] == 30
    assert dataset.noise is not None
    assert dataset.noise.dtype == np.float16
    assert dataset.noise.shape[1:] == dataset.input_shape
    assert np.isfinite(dataset.noise).all()


def test_a_subset_of_words_gets_an_unknown_class_of_their_mean_size(folder: Path, load: Callable[..., Dataset]) -> None:
    write_word(folder, "left")
    dataset = load(folder, words=["yes"], silence=True)
    assert dataset.labels == ("yes", "unknown", "silence")
    assert counts(dataset) == {"train": [20] * 3, "validation": [5] * 3, "test": [5] * 3}
    assert load(folder, words=["yes", "no"], unknown=False).labels == ("yes", "no")


def test_seed_draws_the_unknown_clips(folder: Path, load: Callable[..., Dataset]) -> None:
    first, again, other = (load(folder, seed, words=["yes"], silence=True) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train.features, again.train.features)
    assert first.train.features.tobytes() != other.train.features.tobytes()


@pytest.mark.parametrize("recorded", [True, False])
def test_silence_is_background_noise_where_it_is_there(
    folder: Path, load: Callable[..., Dataset], recorded: bool
) -> None:
    hum = np.sin(2 * np.pi * 3000 * np.arange(160000) / 16000) * 0.2
    if recorded:
        (folder / "_background_noise_").mkdir()
        soundfile.write(folder / "_background_noise_" / "hum.wav", hum, 16000)
    dataset = load(folder, silence=True)
    assert dataset.labels == ("no", "up", "yes", "silence")
    features = Normalisation.from_front_end(dataset.front_end).undo(dataset.test.features.astype(np.float32))
    silent = features[dataset.test.labels == 3].mean(axis=(0, 2))
    log_mel = LogMel.from_front_end(dataset.front_end)
    hum_band = log_mel.mel_matrix()[round(3000 / 16000 * log_mel.fft_size)].argmax()
    assert (silent.argmax() == hum_band) == recorded


def test_unreadable_files_are_named_counted_and_skipped(folder: Path, load: Callable[..., Dataset]) -> None:
    for speaker in (10, 13, 16, 19, 22):
        path = folder / "yes" / f"{speaker}_nohash_0.flac"
        path.write_bytes(path.read_bytes()[:200])
    (folder / "no" / "0_nohash_0.wav").write_bytes(b"")
    dataset = load(folder)
    assert counts(dataset) == {"train": [20, 20, 15], "validation": [4, 5, 5], "test": [5, 5, 5]}
    (note,) = dataset.notes
    assert note.startswith("6 of 90 clips could not be read and were skipped: no/0_nohash_0.wav (")
    assert note.endswith(" and 3 more")
    assert load(folder).notes == dataset.notes  # from the cache too


def test_without_lists_the_speakers_are_hashed(folder: Path, load: Callable[..., Dataset]) -> None:
    for path in folder.glob("*.txt"):
        path.unlink()
    dataset = load(folder, validation_percent=30, test_percent=30)
    sizes = counts(dataset)
    assert all(len(set(sizes[split])) == 1 for split in SPLITS)  # speakers go together
    assert np.sum(list(sizes.values())) == 3 * SPEAKERS


def test_a_class_that_a_held_out_split_lacks_is_noted(folder: Path, load: Callable[..., Dataset]) -> None:
    listed = (folder / "validation_list.txt").read_text().splitlines()
    (folder / "validation_list.txt").write_text("\n".join(name for name in listed if not name.startswith("up/")))
    assert load(folder).notes == ("the validation split has no clip of up",)


def test_changed_files_are_loaded_anew(folder: Path, load: Callable[..., Dataset], tmp_path: Path) -> None:
    first = load(folder)
    load(folder)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    path = folder / "yes" / "11_nohash_0.WAV"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 8000), 16000)
    assert load(folder).train.features.tobytes() != first.train.features.tobytes()
    os.utime(path, ns=(0, 0))
    load(folder)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_folders_that_cannot_be(folder: Path, tmp_path: Path, load: Callable[..., Dataset]) -> None:
    with pytest.raises(UserError, match="missing: there is no such folder"):
        load(tmp_path / "missing")
    (tmp_path / "empty" / "yes").mkdir(parents=True)
    with pytest.raises(UserError, match="no folder in it holds"):
        load(tmp_path / "empty")
    write_word(tmp_path / "single", "yes")
    with pytest.raises(UserError, match=r"only one class \(yes\)"):
        load(tmp_path / "single")
    with pytest.raises(UserError, match="no folders beside the words"):
        load(folder, unknown=True)


def test_a_word_without_a_folder_suggests_the_nearest(folder: Path, load: Callable[..., Dataset]) -> None:
    with pytest.raises(UserError, match=r"'yess': no recordings in .*did you mean yes"):
        load(folder, words=["yess", "no"])
    with pytest.raises(UserError, match=r"'zzzz': .*known: no, up, yes"):
        load(folder, words=["zzzz", "no"])


def test_nothing_readable_is_an_error_and_so_is_a_class_without_training_clips(
    folder: Path, load: Callable[..., Dataset]
) -> None:
    for path in (folder / "yes").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match="no readable training clip of yes"):
        load(folder)
    for path in folder.glob("*/*"):
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match="none of its 90 clips can be read, for instance"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation_percent": 0}, "must be positive"),
        ({"validation_percent": 60, "test_percent": 40}, "below 100"),
        ({"clip_seconds": 0.01}, "at least one frame"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SpeechCommands(Path("anywhere"), **change)  # type: ignore[arg-type]
