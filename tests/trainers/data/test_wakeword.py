"""The data of a wake word: which recordings train and which make streams, and what is said of bad ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import PAUSE, Dataset
from repareto.trainers.data.wakeword import WINDOWS_A_WORD, WakeWord

RATE_HZ = 16_000
WORD, OTHER = "hello", "bye"
TONE_BAND = 7
"""Where the mel bands have the tone of the word."""


def tone(hz: float, seconds: float, rate_hz: int = RATE_HZ, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def faint_noise(seconds: float, seed: int) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return (1e-3 * samples).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty recordings of the word in a room, ten of another; two each validate and test."""
    root = tmp_path / "recordings"
    for word, hz, count in ((WORD, 500, 30), (OTHER, 1500, 10)):
        (root / word).mkdir(parents=True)
        for number in range(count):
            said = np.pad(tone(hz + number, 0.8), RATE_HZ // 2) + faint_noise(1.8, number)
            soundfile.write(root / word / f"{number:02}.wav", said, RATE_HZ)
    for split, numbers in (("validation", (0, 1)), ("testing", (2, 3))):
        names = [f"{word}/{number:02}.wav" for word in (WORD, OTHER) for number in numbers]
        (root / f"{split}_list.txt").write_text("\n".join(names))
    return root


@pytest.fixture
def negatives(tmp_path: Path) -> Path:
    root = tmp_path / "negatives"
    (root / "radio").mkdir(parents=True)
    sound = np.concatenate([tone(hz, 1.0) for hz in range(300, 3300, 50)])
    soundfile.write(root / "radio" / "long.flac", sound, RATE_HZ)
    return root


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Dataset]:
    def load(folder: Path | None, seed: int = 0, word: str = WORD, **settings: object) -> Dataset:
        source = WakeWord(word=word, folder=folder, cache=tmp_path / "cache", **settings)  # type: ignore[arg-type]
        return source.load(seed=seed)

    return load


def test_recordings_train_and_make_two_streams(folder: Path, negatives: Path, load: Callable[..., Dataset]) -> None:
    data = load(folder, negatives=negatives, clip_seconds=1.0)
    assert data.labels == (WORD, "unknown") and data.input_shape == (40, 50)
    # Nothing is detected while the word is in the window, or in what is averaged.
    assert data.detection is not None and data.detection.word == WORD and data.detection.pause_seconds == 1.2
    for split, share in (("validation", 0.6), ("test", 0.8)):
        stream = data.streams[split]
        words = [f"{WORD}/{number:02}.wav" for number in ((0, 1) if split == "validation" else (2, 3))]
        others = [f"{OTHER}/{number:02}.wav" for number in ((0, 1) if split == "validation" else (2, 3))]
        # Twelve seconds of the long recording, in pieces, two clips of the other word, and the words among them.
        names = [source.name for source in stream.sources if source.name != PAUSE]
        assert [name for name in names if name in words] == words and [
            name for name in names if name in others
        ] == others
        assert names.index(words[0]) < names.index(others[0])
        pieces = [source for source in stream.sources if source.name == "radio/long.flac"]
        assert len(pieces) >= 2 and pieces[0].offset_seconds == pytest.approx(share * 60)
        # The word is told where its tone stands out of the silence that the recording has around it.
        assert len(stream.words) == 2 and np.allclose(np.diff(stream.words), 0.8, atol=0.15)
        bands = stream.features.astype(np.float32)
        for number, (start, end) in enumerate(stream.words):
            (source,) = [source for source in stream.sources if source.name == words[number]]
            assert start - source.start_seconds == pytest.approx(0.5, abs=0.1)
            frame = round((start + end) / 2 / 0.02)
            assert abs(int(bands[:, frame].argmax()) - TONE_BAND) <= 1
    # Each of the 26 is repeated, so that the word is a share of what trains.
    positives = int((data.train.labels == 0).sum())
    assert positives % (26 * WINDOWS_A_WORD) == 0 and positives > 0 and (data.train.labels == 1).sum() > 40
    assert int((data.test.labels == 0).sum()) == 2


def test_the_word_is_whole_and_anywhere_in_the_windows_that_train(
    folder: Path, negatives: Path, load: Callable[..., Dataset]
) -> None:
    features = load(folder, negatives=negatives).train.features.astype(np.float32)
    labels = load(folder, negatives=negatives).train.labels
    loudest = features.max(axis=2).argmax(axis=1)
    assert (np.abs(loudest - TONE_BAND) <= 1)[labels == 0].mean() > 0.95
    tone = features[labels == 0, TONE_BAND]
    has_tone = tone > tone.max(axis=1, keepdims=True) - 1
    # 0.8 s of 1.5, not longer than that before the first frame and after the last.
    assert (np.abs(has_tone.sum(axis=1) - 40) < 8).mean() > 0.9
    assert has_tone.argmax(axis=1).min() < 8 and has_tone.argmax(axis=1).max() > 24


def test_the_same_seed_gives_the_same_data_and_the_cache_the_same_again(
    folder: Path, negatives: Path, load: Callable[..., Dataset], tmp_path: Path
) -> None:
    first = load(folder, negatives=negatives)
    kept = load(folder, negatives=negatives, false_alarms_per_hour=5)
    assert kept.detection is not None and kept.detection.false_alarms_per_hour == 5
    for path in (tmp_path / "cache").glob("*.npz"):
        path.unlink()
    again = load(folder, negatives=negatives)
    for other in (kept, again):
        assert (first.train.features == other.train.features).all() and first.notes == other.notes
        for split, stream in first.streams.items():
            assert (stream.features == other.streams[split].features).all()
            assert (stream.words == other.streams[split].words).all()
            assert stream.sources == other.streams[split].sources


def test_recordings_of_any_rate_and_channels_are_taken(
    folder: Path, negatives: Path, load: Callable[..., Dataset]
) -> None:
    soundfile.write(folder / WORD / "02.wav", np.stack([tone(500, 0.8, 44_100)] * 2, axis=1), 44_100)
    soundfile.write(folder / WORD / "03.wav", tone(500, 0.8, 8_000), 8_000)
    stream = load(folder, negatives=negatives).streams["test"]
    # Nothing stands out: all of the recording is the word.
    assert np.allclose(np.diff(stream.words), 0.8, atol=1e-3)


def test_bad_recordings_are_told(folder: Path, negatives: Path, load: Callable[..., Dataset]) -> None:
    soundfile.write(folder / WORD / "10.wav", np.zeros(RATE_HZ, np.float32), RATE_HZ)
    soundfile.write(folder / WORD / "11.wav", np.sign(tone(500, 0.8)), RATE_HZ)
    (folder / WORD / "12.wav").write_bytes(b"no sound")
    (negatives / WORD).mkdir()
    soundfile.write(negatives / WORD / "x.wav", tone(500, 1.0), RATE_HZ)
    notes = "\n".join(load(folder, negatives=negatives).notes)
    assert "only 2 recordings of 'hello' test: even without a miss the rate may be 0% to 84% (95 %)" in notes
    assert "hello/10.wav (is silent)" in notes and "hello/12.wav" in notes and "2 of " in notes
    assert "1 of 28 recordings of 'hello' are clipped" in notes
    assert "1 negatives are named after the wake word and were left out" in notes
    assert "is synthetic" not in notes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"word": "helo"}, "data.word 'helo': no recordings in .*did you mean hello"),
        ({"word": " "}, "data.word: is empty"),
        ({"word": "unknown"}, "data.word 'unknown': is what everything else is called"),
        ({"test_engine": "Hibari"}, "data.test_engine 'Hibari': is no engine"),
        ({"negatives": "nowhere"}, "data.negatives nowhere: there is no such folder"),
        ({"synthetic_hours": -1}, "data.synthetic_hours = -1: must be 0"),
        ({"clip_seconds": 0.001}, "clip_seconds 0.001: must hold at least one frame"),
        ({"false_alarms_per_hour": 0}, "data.false_alarms_per_hour = 0: must be positive"),
        ({"validation_percent": 60, "test_percent": 60}, "nothing is left to train on"),
    ],
)
def test_settings_that_cannot_be(
    folder: Path, load: Callable[..., Dataset], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(folder, **settings)


def test_folders_that_cannot_be(folder: Path, tmp_path: Path, load: Callable[..., Dataset]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no WAV or FLAC file in it"):
        load(folder, negatives=tmp_path / "empty")
    with pytest.raises(UserError, match=r"wakeword folder .*: there is no such folder"):
        load(tmp_path / "nowhere")
    (folder / "testing_list.txt").write_text("")
    with pytest.raises(UserError, match="no readable recording of it in the test split"):
        load(folder, negatives=folder)
    with pytest.raises(UserError, match="there is no other speech"):
        WakeWord(word=WORD, synthetic_hours=0)


def test_espeak_speaks_what_is_not_recorded(load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")
    spoken = {"train": 12, "validation": 3, "test": 3}
    monkeypatch.setattr("repareto.trainers.data.wake_sounds.SPOKEN_WORDS", spoken)
    data = load(None, word="hey computer", synthetic_hours=0.005)
    assert len(data.streams["test"].words) == 3
    frames_of_speech = int(0.005 * 3600 / 0.02)
    assert data.streams["validation"].features.shape[1] > frames_of_speech
    assert (data.train.labels == 0).any() and (data.train.labels == 1).any()
    assert any(note.startswith("streams: validation 0.01 h with 3 words") for note in data.notes)


def test_people_against_machines_are_remarked_on(
    folder: Path, load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")
    monkeypatch.setattr("repareto.trainers.data.other_speech.SENTENCES_A_CHUNK", 5)
    for path in (folder / OTHER).iterdir():
        path.unlink()
    notes = load(folder, synthetic_hours=0.002).notes
    assert any("all that is heard beside recordings of 'hello' is synthetic" in note for note in notes)


def test_another_engine_speaks_the_test_stream_alone(
    load: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hibari", reason="needs the extra speech")
    spoken = {"train": 6, "validation": 2, "test": 2}
    monkeypatch.setattr("repareto.trainers.data.wake_sounds.SPOKEN_WORDS", spoken)
    same, other = (
        load(None, word="hey computer", synthetic_hours=0.002, test_engine=name) for name in ("espeak", "hibari")
    )
    assert (same.train.features == other.train.features).all()
    assert (same.streams["validation"].features == other.streams["validation"].features).all()
    assert not np.array_equal(same.streams["test"].features[:, :300], other.streams["test"].features[:, :300])
    assert len(other.streams["test"].words) == 2


def test_much_is_told_of_little_data(load: Callable[..., Dataset], folder: Path, negatives: Path) -> None:
    notes = "\n".join(load(folder, negatives=negatives, clip_seconds=0.5).notes)
    assert "30 of 30 times 'hello' lasts longer than a window of 0.5 s, up to 0.9 s; only its end is in it" in notes
    assert "one false alarm in the 0.01 h that calibrate is" in notes and "and 1 are allowed" in notes
    soundfile.write(negatives / "radio" / "long.flac", tone(700, 2.0), RATE_HZ)
    for path in (folder / OTHER).iterdir():
        path.unlink()
    with pytest.raises(
        UserError, match=r"nowhere in the .* s of the \w+ stream is there a window of 5 s without the word"
    ):
        load(folder, negatives=negatives, clip_seconds=5.0)
