"""What is heard of a wake word and of everything else, by split."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.spaces.errors import UserError
from repareto.trainers.data.cache import SPLITS
from repareto.trainers.data.negatives import Part
from repareto.trainers.data.wake_sounds import Assigned, WakeSounds

RATE_HZ = 8000


def recorded(folder: Path, name: str, seconds: float, level: float = 0.1) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).uniform(-level, level, round(seconds * RATE_HZ))
    soundfile.write(path, noise, RATE_HZ)
    return path


def sounds(**of_train: list) -> WakeSounds:
    recordings = {split: Assigned() for split in SPLITS} | {"train": Assigned(**of_train)}
    return WakeSounds("hey", recordings, RATE_HZ, speaks_word=False, hours=0.0, test_engine="espeak", seed=0)


def test_what_cannot_be_read_or_heard_is_left_out_and_told_once(tmp_path: Path) -> None:
    good = recorded(tmp_path, "hey/good.wav", 1.0)
    silent = recorded(tmp_path, "hey/silent.wav", 1.0, level=1e-6)
    long = recorded(tmp_path, "radio/long.wav", 20.0)
    broken = tmp_path / "radio" / "broken.wav"
    broken.write_bytes(b"no sound")
    found = sounds(words=[good, silent], others=[Part(long, 0.0, 0.5), Part(broken), Part(long, 0.5, 1.0)])
    assert [sound.source for sound in found.words("train")] == ["hey/good.wav"]
    others = list(found.others("train"))
    assert {sound.source for sound in others} == {"radio/long.wav"} and len(others) >= 3
    assert sum(len(sound.waveform) for sound in others) == 20 * RATE_HZ
    assert found.other_seconds("train") == pytest.approx(20.0)
    (note,) = found.notes()
    assert note.startswith("2 of 4 clips") and "hey/silent.wav (is silent)" in note and "radio/broken.wav" in note


def test_a_split_without_the_word_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.word 'hey': no readable recording of it in the test split"):
        sounds().words("test")


def test_a_voice_that_makes_no_sound_of_the_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")
    monkeypatch.setattr("repareto.trainers.data.wake_sounds.SPOKEN_WORDS", {"train": 1})
    spoken = WakeSounds("-", {}, RATE_HZ, speaks_word=True, hours=0.0, test_engine="espeak", seed=0)
    with pytest.raises(UserError, match=r"data\.word '-': the voice makes no sound of it"):
        spoken.words("train")
