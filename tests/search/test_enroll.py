"""A user says a word a few times, and the threshold becomes one that hears this user."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from repareto.search.enroll import choose_threshold, enroll, peak_score
from repareto.search.listen import Listener
from repareto.spaces.errors import UserError
from tests.search.test_listen import folder as made_folder
from tests.search.test_listen import tones

made = pytest.fixture(scope="module", name="made")(made_folder.__wrapped__)


def spoken(loudness: float) -> np.ndarray:
    return np.float32(loudness) * tones((300, 0.3, 0.7), seconds=1.0)


@pytest.fixture
def wake(made: Path, tmp_path: Path) -> Path:
    place = Path(shutil.copytree(made, tmp_path / "wake"))
    manifest = json.loads((place / "manifest.json").read_text())
    score = peak_score(Listener(place), spoken(0.05))
    manifest["detector"] = {"threshold": (1 + score) / 2, "smoothing_hops": 5, "pause_seconds": 1.0}
    manifest["detector"]["false_alarms_per_hour"] = 1.0
    manifest["misses"] = [
        {"false_alarms_per_hour": rate, "threshold": threshold}
        for rate, threshold in ((0.5, 0.999), (2.0, 0.9 * score), (10.0, 0.1 * score))
    ]
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def write(place: Path, *loudness: float) -> Path:
    place.mkdir()
    for number, own in enumerate(loudness):
        soundfile.write(place / f"{number}.wav", spoken(own), 16000)
    return place


def test_a_quiet_user_is_heard_afterwards(wake: Path, tmp_path: Path) -> None:
    user = write(tmp_path / "user", *[0.05] * 5)
    said: list[str] = []
    found = enroll(wake, user, most_false_alarms=2.0, say=said.append)
    assert said == [] and found.word == "low" and len(found.scores) == 5
    assert found.heard_at(found.threshold_before) == 0 and found.heard_at(found.threshold) == 5
    assert found.false_alarms_per_hour == 2.0 and found.threshold < found.threshold_before
    # What listens next takes it from the manifest, and doing it again starts from what all users have.
    assert Listener(wake).detector.threshold == found.threshold
    manifest = (wake / "manifest.json").read_text()
    assert enroll(wake, user, most_false_alarms=2.0, say=said.append) == found
    assert (wake / "manifest.json").read_text() == manifest
    loud = write(tmp_path / "loud", *[1.0] * 3)
    assert enroll(wake, loud, most_false_alarms=2.0, say=said.append).threshold == found.threshold_before


def test_the_threshold_is_the_highest_that_hears_all_and_costs_no_more_than_is_allowed() -> None:
    before = {"threshold": 0.9, "false_alarms_per_hour": 1.0}
    rows = [
        {"threshold": threshold, "false_alarms_per_hour": rate}
        for threshold, rate in ((0.95, 0.5), (0.9, 1.0), (0.7, 2.0), (0.4, 5.0), (0.1, 10.0))
    ]

    def chosen(least: float, most: float) -> float:
        return choose_threshold([0.99, least], before, rows, most)["threshold"]

    assert [chosen(least, 5.0) for least in (0.97, 0.9, 0.8, 0.5, 0.2)] == [0.9, 0.9, 0.7, 0.4, 0.4]
    assert chosen(0.2, 0.0) == 0.9


def test_recordings_that_cannot_be_used(wake: Path, made: Path, tmp_path: Path) -> None:
    user = write(tmp_path / "two", 1.0, 1.0)
    (user / "broken.wav").write_text("no sound")
    soundfile.write(user / "silent.wav", np.zeros(16000), 16000)
    said: list[str] = []
    with pytest.raises(UserError, match="has 2 recordings of the word that can be used; give 3 or more"):
        enroll(wake, user, most_false_alarms=2.0, say=said.append)
    assert len(said) == 2 and said[1].endswith("silent.wav: is silent")
    with pytest.raises(UserError, match="there is no such folder"):
        enroll(wake, tmp_path / "none", most_false_alarms=2.0, say=said.append)
    with pytest.raises(UserError, match="is no wake word's"):
        enroll(made, user, most_false_alarms=2.0, say=said.append)
