"""Speakers by the names of files."""

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import Split
from repareto.trainers.data.users.options import Users
from repareto.trainers.data.users.recorded import FEWEST, speaker_of, users_of

COUNT = 4 * FEWEST
SPLIT = Split(np.arange(COUNT, dtype=float)[:, None], np.arange(COUNT) % 3)


def test_a_speaker_stands_before_nohash() -> None:
    assert speaker_of("jackson_nohash_7.wav") == "jackson"
    assert speaker_of("0a7c2a8d_nohash_0.wav") == "0a7c2a8d"
    assert speaker_of("take seven.wav") is None


def test_speakers_who_are_heard_often_enough_are_users_and_nobody_has_anothers_recordings() -> None:
    names = ["ann"] * (2 * FEWEST) + ["bob"] * FEWEST + ["eve"] * (FEWEST - 1) + [None]
    users = users_of(SPLIT, names, Users(), np.random.default_rng(0))
    assert sorted(user.name for user in users) == ["ann", "bob"]
    for user in users:
        numbers = np.concatenate([user.own.features, user.test.features])[:, 0].astype(int)
        assert {names[number] for number in numbers} == {user.name}
        assert len(numbers) == names.count(user.name)
    assert len(users_of(SPLIT, names, Users(count=1), np.random.default_rng(0))) == 1


def test_files_that_do_not_say_who_speaks() -> None:
    with pytest.raises(UserError, match="no speaker has 30 recordings in the test split"):
        users_of(SPLIT, [None] * COUNT, Users(), np.random.default_rng(0))
