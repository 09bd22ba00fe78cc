"""Recordings joined into strings: speakers stay on their side, and strings are of what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.spaces.errors import UserError
from repareto.trainers.data.cache import SPLITS
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.transcripts import joined
from repareto.trainers.data.transcripts.joined import JoinedRecordings
from repareto.trainers.features import LogMel
from repareto.trainers.tokens import transcripts_of

HERTZ = {"low": 300.0, "high": 3000.0}
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words of 0.2 s between silences, by four speakers, of whom one validates and one tests."""
    folder = tmp_path_factory.mktemp("recordings")
    for word, hertz in HERTZ.items():
        (folder / word).mkdir()
        for speaker in ("anna", "ben", "carla", "dan"):
            tone = 0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE_HZ // 5) / RATE_HZ)
            quiet = np.zeros(RATE_HZ // 10)
            for number in range(2):
                clip = np.concatenate([quiet, tone, quiet])
                soundfile.write(folder / word / f"{speaker}_nohash_{number}.wav", clip, RATE_HZ)
    for name, speaker in (("validation_list.txt", "carla"), ("testing_list.txt", "dan")):
        (folder / name).write_text("\n".join(f"{word}/{speaker}_nohash_{n}.wav" for word in HERTZ for n in range(2)))
    return folder


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Callable[..., Dataset]:
    def load(seed: int = 0, **settings: object) -> Dataset:
        usual = {"folder": folder, "utterances": 40, "window_seconds": 1.2, "most_words": 3, "snr_db": (40.0, 40.0)}
        return JoinedRecordings(**{"cache": tmp_path, **usual, **settings}).load(seed=seed)  # type: ignore[arg-type]

    return load


def test_strings_are_what_is_heard(load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    # A pause of one frame could not be seen.
    monkeypatch.setattr(joined, "PAUSE_SECONDS", (0.1, 0.2))
    dataset = load(log_mel=LogMel(bands=8))
    assert dataset.labels == ("<blank>", "high", "low")
    assert [len(getattr(dataset, split)) for split in SPLITS] == [28, 6, 6]
    for split in SPLITS:
        held = getattr(dataset, split)
        features = held.features.astype(np.float32)
        # A tone's own bands are loud while it sounds: runs of loud frames, low or high, in the order of the tokens.
        low, high = features[:, :3].max(1) > 1.5, features[:, 5:].max(1) > 1.5
        for tokens, is_low, is_high in zip(transcripts_of(held.labels), low, high, strict=True):
            assert 2 <= len(tokens) <= 3
            starts = [
                (int(frame), token)
                for token, loud in ((2, is_low), (1, is_high))
                for frame in np.flatnonzero(np.diff(loud.astype(int), prepend=0) == 1)
            ]
            assert [token for _, token in sorted(starts)] == list(tokens)


def test_the_same_seed_gives_the_same_strings(load: Callable[..., Dataset], tmp_path: Path) -> None:
    first, again, other = load(0), load(0, cache=tmp_path / "again"), load(1)
    assert np.array_equal(first.train.features, again.train.features)
    assert np.array_equal(first.train.labels, again.train.labels)
    assert not np.array_equal(first.train.features, other.train.features)
    assert first.transcription is not None and first.transcription.unit == "word"


def test_longer_strings_are_left_out_and_counted(load: Callable[..., Dataset]) -> None:
    dataset = load(window_seconds=0.65, most_words=3)
    left = sum(len(getattr(dataset, split)) for split in SPLITS)
    assert left < 40
    assert dataset.notes == (f"{40 - left} of 40 strings are longer than window_seconds (0.65) and were left out",)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"words": ("low", "hgih")}, "joined_recordings words 'hgih': no recordings in .*did you mean high"),
        ({"words": ("low",)}, "words low: must be two or more"),
        ({"words": ("low", "very low")}, "words 'very low': must be one word"),
        ({"fewest_words": 3, "most_words": 2}, "fewest_words 3, most_words 2: must rise from 1"),
        ({"snr_db": (5.0, 0.0)}, "snr_db 5.0 to 0.0: the range is reversed"),
        ({"utterances": 3}, "utterances 3: must be 20 or more"),
        ({"folder": Path("none")}, "joined_recordings folder none: there is no such folder"),
        ({"validation_percent": 60.0, "test_percent": 40.0}, "nothing is left to train on"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    load: Callable[..., Dataset], settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        load(**settings)


def test_a_split_without_a_speaker_of_all_words_is_told(folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for word in HERTZ:
        (few / word).mkdir(parents=True)
        for clip in (folder / word).glob("anna*"):
            (few / word / clip.name).write_bytes(clip.read_bytes())
    with pytest.raises(UserError, match=r"no speaker of the .* split has a recording of each word"):
        JoinedRecordings(folder=few, utterances=20, cache=tmp_path).load(seed=0)
