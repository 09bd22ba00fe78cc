"""Recordings of other speech: how they are divided, read and cut up."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.trainers.data.audio import UnreadableAudio
from repareto.trainers.data.negatives import Part, cut_at_pauses, named_after, split_recordings

RATE_HZ = 8000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """150 seconds: noise with a pause of a tenth of a second at the end of each two seconds."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 150 * RATE_HZ).astype(np.float32)
    noise.reshape(-1, 2 * RATE_HZ)[:, -RATE_HZ // 10 :] *= 0.001
    path = tmp_path / "radio" / "long.wav"
    path.parent.mkdir()
    soundfile.write(path, noise, RATE_HZ)
    return path


def test_few_files_are_cut_in_three_and_many_are_assigned_whole() -> None:
    few = split_recordings([Path("a/1.wav"), Path("a/2.wav")])
    assert [(part.start, part.end) for part in few["validation"]] == [(0.6, 0.8)] * 2
    paths = [Path(f"a/{number}.wav") for number in range(200)]
    many = split_recordings(paths)
    assert sorted(part.path for parts in many.values() for part in parts) == sorted(paths)
    assert 90 < len(many["train"]) < 150 and all(part == Part(part.path) for part in many["test"])


def test_a_long_recording_is_read_a_minute_at_a_time_and_cut_in_its_pauses(recording: Path) -> None:
    part = Part(recording, 0.2, 1.0)
    assert part.seconds == pytest.approx(120) and part.name == "radio/long.wav"
    stretches = part.stretches()
    assert [(round(150 * stretch.start), round(150 * stretch.end)) for stretch in stretches] == [(30, 90), (90, 150)]
    pieces = [piece for stretch in stretches for piece in stretch.pieces(RATE_HZ)]
    whole, _ = soundfile.read(recording, dtype="float32")
    np.testing.assert_array_equal(np.concatenate([piece.waveform for piece in pieces]), whole[30 * RATE_HZ :])
    lengths = np.array([len(piece.waveform) for piece in pieces]) / RATE_HZ
    assert lengths.max() <= 9 and (lengths[:-1] >= 3).sum() >= len(lengths) - 3
    for piece in pieces:
        start = round(piece.offset_seconds * RATE_HZ)
        np.testing.assert_array_equal(piece.waveform, whole[start : start + len(piece.waveform)])
        # Each begins in a pause, but for what is read anew.
        assert round(piece.offset_seconds, 3) % 30 == 0 or np.abs(piece.waveform[:100]).max() < 0.01


def test_short_recordings_are_one_piece() -> None:
    short = np.ones(5 * RATE_HZ, np.float32)
    assert [len(piece) for piece in cut_at_pauses(short, RATE_HZ)] == [len(short)]
    assert Part(Path("nowhere.wav")).stretches() == [Part(Path("nowhere.wav"))]


def test_what_is_damaged_is_so_from_there_on(recording: Path) -> None:
    content = recording.read_bytes()
    recording.write_bytes(content[: len(content) // 2])
    first, *_, last = Part(recording).stretches()
    assert list(first.pieces(RATE_HZ))
    with pytest.raises(UnreadableAudio):
        list(Part(recording.with_name("nowhere.wav")).stretches()[0].pieces(RATE_HZ))
    assert first != last


def test_files_are_named_after_the_word_by_their_folder_or_their_own_name() -> None:
    root = Path("word/negatives")  # the folder's own place says nothing
    paths = [root / name for name in ("a.wav", "Word/a.wav", "b/word_12.wav", "b/word.wav", "b/sword.wav")]
    assert named_after("word", paths, root) == paths[1:4]
