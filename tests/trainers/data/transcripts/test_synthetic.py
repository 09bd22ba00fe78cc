"""Synthetic strings, small: what is said is what is written, speakers disjoint, the same from the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import espeak
from repareto.trainers.data.cache import SPLITS
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.transcripts.synthetic import SyntheticStrings
from repareto.trainers.data.voices import family
from repareto.trainers.tokens import transcripts_of


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    pytest.importorskip("espeakng_loader")

    def load(seed: int = 0, **settings: object) -> Dataset:
        usual = {"utterances": 40, "cache": tmp_path}
        return SyntheticStrings(**{**usual, **settings}).load(seed=seed)  # type: ignore[arg-type]

    return load


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[list[espeak.Utterance]]:
    """All chunks that eSpeak was asked for."""
    chunks: list[list[espeak.Utterance]] = []
    render = espeak.render

    def spy(asked: Sequence[Sequence[espeak.Utterance]], rate_hz: int) -> Iterator[list[np.ndarray]]:
        chunks.extend([list(chunk) for chunk in asked])
        return render(asked, rate_hz)

    monkeypatch.setattr(espeak, "render", spy)
    return chunks


def test_texts_are_labels_and_speakers_disjoint(
    load: Callable[..., Dataset], heard: list[list[espeak.Utterance]]
) -> None:
    dataset = load(window_seconds=4.0)
    assert dataset.labels[:3] == ("<blank>", "zero", "one") and len(dataset.labels) == 11
    assert dataset.input_shape == (40, 200)
    assert dataset.notes == ()
    speakers = []
    for split, chunk in zip(SPLITS, heard, strict=True):
        tokens = transcripts_of(getattr(dataset, split).labels)
        assert [utterance.text.split() for utterance in chunk] == [[dataset.labels[t] for t in one] for one in tokens]
        assert all(2 <= len(one) <= 5 for one in tokens)
        speakers.append({family(utterance.variant) for utterance in chunk})
    assert not any(one & other for i, one in enumerate(speakers) for other in speakers[:i])


def test_the_same_seed_gives_the_same_bytes(load: Callable[..., Dataset], tmp_path: Path) -> None:
    first, again = load(3), load(3, cache=tmp_path / "again")
    assert np.array_equal(first.train.features, again.train.features)
    assert np.array_equal(first.test.labels, again.test.labels)


def test_a_vocabulary_without_sound_is_refused(load: Callable[..., Dataset]) -> None:
    with pytest.raises(UserError, match=r"eSpeak NG makes no sound of '[^a-z]*'; leave those words out"):
        load(words=("...", "!!"))
