"""Synthetic speech, small: deterministic, voice-disjoint, balanced, cached."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import espeak, hibari, synthetic
from repareto.trainers.data.cache import SPLITS, _digest
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.synthetic import Synthetic
from repareto.trainers.data.voices import family
from repareto.trainers.features import LogMel

WORDS = ("yes", "stop")
CLIPS = 160


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(synthetic, "UTTERANCES_A_CHUNK", 30)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def load(seed: int = 0, folder: str = "cache", **settings: object) -> Dataset:
        usual = {"words": WORDS, "clips": CLIPS}
        return Synthetic(cache=tmp_path / folder, **{**usual, **settings}).load(seed=seed)  # type: ignore[arg-type]

    return load


def all_bytes(dataset: Dataset) -> bytes:
    assert dataset.noise is not None
    parts = [getattr(dataset, split).features.tobytes() + getattr(dataset, split).labels.tobytes() for split in SPLITS]
    return b"".join(parts) + dataset.noise.tobytes() + json.dumps(dataset.front_end).encode()


def test_classes_are_balanced_and_the_front_end_is_told(load: Callable[..., Dataset]) -> None:
    dataset = load()
    assert dataset.labels == ("yes", "stop", "unknown", "silence")
    sizes = {split: np.bincount(getattr(dataset, split).labels).tolist() for split in SPLITS}
    assert sizes == {"train": [28] * 4, "validation": [6] * 4, "test": [6] * 4}
    assert dataset.input_shape == (40, 50)
    assert dataset.train.features.dtype == np.float16
    assert dataset.noise is not None
    assert dataset.noise.shape[1:] == (40, 50)
    assert dataset.train.features.mean(dtype=np.float64) == pytest.approx(0, abs=1e-3)
    assert dataset.train.features.std(dtype=np.float64) == pytest.approx(1, abs=1e-3)
    assert json.loads(json.dumps(dataset.front_end))["clip_seconds"] == 1.0
    assert all(np.isfinite(getattr(dataset, split).features).all() for split in SPLITS)


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_cores(
    load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(0, "first")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert all_bytes(load(0, "one core")) == all_bytes(first)
    assert all_bytes(load(0, "first")) == all_bytes(first)  # from the cache
    assert all_bytes(load(1, "one core")) != all_bytes(first)


def test_splits_share_no_speaker(load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[Sequence[espeak.Utterance]] = []
    render = espeak.render

    def recorded(chunks: Sequence[Sequence[espeak.Utterance]], sample_rate_hz: int) -> Iterator[list[np.ndarray]]:
        rendered.extend(chunks)
        return render(chunks, sample_rate_hz)

    monkeypatch.setattr(espeak, "render", recorded)
    dataset = load(silence=False)
    speakers = iter([family(utterance.variant) for chunk in rendered for utterance in chunk])
    train, validation, test = ({next(speakers) for _ in range(len(getattr(dataset, split)))} for split in SPLITS)
    assert not (train & validation or train & test or validation & test)
    texts = {utterance.text.rstrip(".!?") for chunk in rendered for utterance in chunk}
    assert set(WORDS) < texts
    assert texts - set(WORDS) <= set(synthetic.OTHER_WORDS)


def test_silence_may_be_a_word_where_it_is_no_class(load: Callable[..., Dataset]) -> None:
    dataset = load(words=("yes", "silence"), unknown=False, silence=False)
    assert dataset.labels == ("yes", "silence")
    assert np.bincount(dataset.test.labels).tolist() == [12, 12]


@pytest.fixture
def needs_hibari() -> None:
    pytest.importorskip("hibari")


@pytest.mark.usefixtures("needs_hibari")
def test_another_engine_speaks_the_test_split_and_nothing_else(
    load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[hibari.Utterance] = []
    render = hibari.render

    def recorded(chunks: Sequence[Sequence[hibari.Utterance]], sample_rate_hz: int) -> Iterator[list[np.ndarray]]:
        rendered.extend(utterance for chunk in chunks for utterance in chunk)
        return render(chunks, sample_rate_hz)

    monkeypatch.setattr(hibari, "render", recorded)
    usual, other = load(), load(test_engine="hibari")
    assert len(rendered) == 18  # 6 clips of yes, stop and unknown; silence is not spoken
    assert len({utterance.pitch for utterance in rendered}) == 18
    for split in ("train", "validation"):
        np.testing.assert_array_equal(getattr(other, split).features, getattr(usual, split).features)
    assert other.noise is not None and usual.noise is not None
    np.testing.assert_array_equal(other.noise, usual.noise)
    spoken = other.test.labels != other.labels.index("silence")
    assert (other.test.features[spoken] != usual.test.features[spoken]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(other.test.features[~spoken], usual.test.features[~spoken])
    assert other.test.features[spoken].max() > 2  # there is speech in it, as loud as the training's


@pytest.mark.usefixtures("needs_hibari")
def test_the_other_engine_gives_the_same_bytes_again(load: Callable[..., Dataset]) -> None:
    first = load(0, "first", test_engine="hibari")
    assert all_bytes(load(0, "second", test_engine="hibari")) == all_bytes(first)
    assert all_bytes(load(0, "first", test_engine="hibari")) == all_bytes(first)  # from the cache
    assert all_bytes(load(0, "first")) != all_bytes(first)  # not the other's


@pytest.mark.usefixtures("needs_hibari")
def test_a_word_that_the_other_engine_cannot_say_is_told(
    load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hibari, "render", lambda chunks, _: ([np.zeros(0, np.int16)] * len(c) for c in chunks))
    with pytest.raises(UserError, match="hibari makes no sound of"):
        load(test_engine="hibari")


def test_channels_change_the_spoken_clips_of_all_splits_and_nothing_else(load: Callable[..., Dataset]) -> None:
    quiet = {"snr_db": (60.0, 60.0)}
    dry, wet = load(**quiet), load(channels=True, **quiet)
    for split in SPLITS:
        mine, theirs = getattr(wet, split), getattr(dry, split)
        np.testing.assert_array_equal(mine.labels, theirs.labels)
        # Back to dB, because the training split's mean and deviation have changed.
        db = [
            given.features.astype(np.float64) * data.front_end["std"] + data.front_end["mean"]
            for given, data in ((mine, wet), (theirs, dry))
        ]
        difference_db = np.abs(db[0] - db[1]).max(axis=(1, 2))
        spoken = mine.labels != wet.labels.index("silence")
        assert difference_db[~spoken].max() < 0.2
        assert (difference_db[spoken] > 3).mean() > 0.7  # an eighth of the clips goes through no part of a channel


def test_channels_give_the_same_bytes_again(load: Callable[..., Dataset]) -> None:
    first = load(0, "first", channels=True)
    assert all_bytes(load(0, "second", channels=True)) == all_bytes(first)
    assert all_bytes(load(0, "first", channels=True)) == all_bytes(first)  # from the cache
    assert all_bytes(load(0, "first")) != all_bytes(first)  # not the other's


def test_the_key_of_the_cache_is_that_of_earlier_versions(load: Callable[..., Dataset], tmp_path: Path) -> None:
    """What users have in their caches must not be made again because a setting was added."""
    load()
    key = {
        "source": "synthetic", "espeak": espeak.version(), "words": WORDS, "clips": CLIPS, "unknown": True,
        "silence": True, "snr_db": [10.0, 30.0], "clip_seconds": 1.0, "log_mel": LogMel().describe(), "seed": 0,
    }  # fmt: skip
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"synthetic-{_digest(key)}.npz"]


def test_noisier_settings_are_noisier(load: Callable[..., Dataset]) -> None:
    clean, noisy = (load(snr_db=snr_db, unknown=False, silence=False) for snr_db in ((60, 60), (0, 0)))
    contrast = [
        np.median(dataset.train.features.max(axis=2) - dataset.train.features.min(axis=2)) * dataset.front_end["std"]
        for dataset in (clean, noisy)
    ]
    assert contrast[0] > 2 * contrast[1]


def test_a_word_without_sound_is_told(load: Callable[..., Dataset]) -> None:
    with pytest.raises(UserError, match="no sound of"):
        load(words=("yes", "\u200b"), unknown=False, silence=False, clips=40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": 79}, "clips 79: too few for 4 classes; need at least 80"),
        ({"snr_db": (30, 10)}, "snr_db 30 to 10: the range is reversed"),
        ({"words": ("yes", "yes")}, "'yes' is there twice"),
        ({"words": ("yes", "silence")}, "also an extra class"),
        ({"test_engine": "espaek"}, "test_engine 'espaek': did you mean espeak?"),
        ({"clip_seconds": 0.0}, "at least one frame"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Synthetic(**{"words": WORDS, "clips": CLIPS, **change})  # type: ignore[arg-type]


def test_the_defaults_are_the_12_class_task() -> None:
    assert len(Synthetic().labels()) == 12
