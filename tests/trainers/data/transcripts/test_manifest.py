"""A user's own corpus: what is loaded, what is left out and said, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import Dataset
from repareto.trainers.data.transcripts.manifest import Manifest
from repareto.trainers.tokens import transcripts_of

RATE_HZ = 16_000
GOOD = [(0.5, "ab", "train"), (1.0, "b a", "train"), (0.8, "ba", "validation"), (0.6, "aa", "test")]


def write(folder: Path, seconds: float, name: str) -> str:
    samples = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ))
    soundfile.write(folder / name, samples, RATE_HZ)
    return name


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., Path]:
    def manifest(*more: dict[str, Any] | str) -> Path:
        lines: list[Any] = [
            {"path": write(tmp_path, seconds, f"{number}.wav"), "text": text, "split": split}
            for number, (seconds, text, split) in enumerate(GOOD)
        ]
        lines += more
        path = tmp_path / "corpus.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n\n")
        return path

    return manifest


def load(path: Path, **settings: Any) -> Dataset:
    return Manifest(manifest=path, window_seconds=1.2, cache=path.parent / "cache", **settings).load(seed=0)


def test_utterances_end_in_silence_and_say_how_long_they_are(manifest: Callable[..., Path]) -> None:
    for _ in range(2):  # made, then from the cache
        dataset = load(manifest())
        assert dataset.labels == ("<blank>", " ", "a", "b")
        assert dataset.input_shape == (40, 60)
        assert transcripts_of(dataset.train.labels) == [(2, 3), (3, 1, 2)]
        assert dataset.train.frames is not None and dataset.train.frames.tolist() == [25, 50]
        assert dataset.notes == ()
        assert dataset.transcription is not None and dataset.transcription.unit == "character"
    features = dataset.train.features.astype(np.float64)
    # Silence is one number, and is not among what is normalised.
    assert len(np.unique(features[0, :, 27:])) == 1
    sound = np.concatenate([features[0, :, :25], features[1, :, :50]], axis=1)
    assert sound.mean() == pytest.approx(0, abs=1e-3) and sound.std() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(
    ("fields", "settings", "said"),
    [
        ({"text": "  "}, {}, "have an empty transcript and were left out: line 5 (x.wav)"),
        ({"text": "axb"}, {}, "have a character that is no symbol and were left out: line 5 (x.wav: 'x')"),
        ({"text": "a c"}, {"unit": "word", "symbols": ("a", "ab", "ba", "b", "aa")},
         "have a word that is no symbol and were left out: line 5 (x.wav: 'c')"),
        ({"seconds": 1.3}, {}, "are longer than window_seconds (1.2) and were left out: line 5 (x.wav: 1.3 s)"),
        ({"seconds": 0.2, "text": "aab"}, {},
         "are shorter than their transcript at 4 frames_a_step and were left out: line 5 (x.wav: 2 steps, 4 needed)"),
        ({"path": "none.wav"}, {}, "cannot be read and were left out: line 5 (none.wav: "),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_left_out_and_named(
    manifest: Callable[..., Path], tmp_path: Path, fields: dict[str, Any], settings: dict[str, Any], said: str
) -> None:
    write(tmp_path, fields.pop("seconds", 0.5), "x.wav")
    dataset = load(manifest({"path": "x.wav", "text": "ab", "split": "test", **fields}), **settings)
    assert len(dataset.train) == 2 and len(dataset.test) == 1
    (note,) = dataset.notes
    assert note.startswith(f"1 of 5 utterances {said}")


def test_many_of_one_kind_are_counted(manifest: Callable[..., Path]) -> None:
    dataset = load(manifest(*({"path": "0.wav", "text": "", "split": "train"} for _ in range(5))))
    assert dataset.notes == (
        "5 of 9 utterances have an empty transcript and were left out: "
        "line 5 (0.wav), line 6 (0.wav), line 7 (0.wav) and 2 more",
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", r"corpus\.jsonl:5: is not JSON"),
        ('["a"]', r'corpus\.jsonl:5: must be an object with the texts "path" and "text"'),
        ({"path": "0.wav", "text": 3}, r'corpus\.jsonl:5: must be an object with the texts "path" and "text"'),
        ({"path": "0.wav", "text": "a", "split": "dev"}, r"corpus\.jsonl:5: split 'dev' must be train, validation or"),
    ],
)
def test_a_line_of_another_form_is_refused(manifest: Callable[..., Path], line: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load(manifest(line))


def test_an_unusable_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest .*none\.jsonl: cannot be read \(No such file"):
        load(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.jsonl: is empty"):
        load(tmp_path / "empty.jsonl")
    (tmp_path / "one.jsonl").write_text(
        json.dumps({"path": write(tmp_path, 0.5, "a.wav"), "text": "ab", "split": "train"})
    )
    with pytest.raises(UserError, match=r"one\.jsonl: no utterances to validate with"):
        load(tmp_path / "one.jsonl")


def test_speakers_draw_their_splits(manifest: Callable[..., Path], tmp_path: Path) -> None:
    lines = [
        {"path": write(tmp_path, 0.4, f"s{speaker}-{number}.wav"), "text": "ab", "speaker": f"speaker {speaker}"}
        for speaker in range(12)
        for number in range(2)
    ]
    utterances = Manifest(manifest=manifest(*lines), validation_percent=25, test_percent=25)._read_lines()[len(GOOD) :]
    by_speaker = {lines[place]["speaker"]: set() for place in range(len(lines))}
    for line, utterance in zip(lines, utterances, strict=True):
        by_speaker[line["speaker"]].add(utterance.split)
    assert all(len(splits) == 1 for splits in by_speaker.values())
    assert set.union(*by_speaker.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"unit": "phone"}, "data.unit 'phone': must be word or character"),
        ({"frames_a_step": 0}, "manifest frames_a_step 0: must be 1 or more"),
        ({"window_seconds": 0.001}, "manifest: clip_seconds 0.001"),
    ],
)
def test_settings_are_checked(tmp_path: Path, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Manifest(**{"manifest": tmp_path / "a", **settings})
