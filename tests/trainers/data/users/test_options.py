"""How much users give, and how unevenly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import NO_LABEL
from repareto.trainers.data.users.options import Users

SOME = Users(count=2, labelled=20, unlabelled=50, tested=30)


@settings(deadline=None)
@given(st.integers(3, 300), st.floats(0, 0.95), st.integers(0, 50))
def test_no_recording_is_given_twice_and_labels_are_scarce(available: int, skew: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    options = Users(labelled=20, unlabelled=50, tested=30, skew=skew)
    labels = rng.integers(0, 4, available)
    chosen = options.chosen_of(labels, rng)
    assert len(np.unique(chosen)) == len(chosen) <= min(available, options.clips)
    features = np.arange(available)[:, None].astype(float)
    user = options.user("x", features[chosen], labels[chosen])
    both = np.concatenate([user.own.features, user.test.features])[:, 0].astype(int)
    np.testing.assert_array_equal(np.sort(both), np.sort(chosen))
    told = user.own.labels != NO_LABEL
    np.testing.assert_array_equal(user.own.labels[told], labels[user.own.features[told, 0].astype(int)])
    np.testing.assert_array_equal(user.test.labels, labels[user.test.features[:, 0].astype(int)])
    assert abs(told.sum() - 0.2 * len(chosen)) <= 1 and abs(len(user.test) - 0.3 * len(chosen)) <= 1


def test_without_skew_all_classes_are_said_as_often_and_with_it_few_are() -> None:
    rng = np.random.default_rng(0)
    assert np.bincount(SOME.classes_of(60, 4, rng)).tolist() == [15] * 4

    def most_frequent(skew: float) -> float:
        options = Users(skew=skew)
        shares = [np.bincount(options.classes_of(100, 10, rng)).max() / 100 for _ in range(50)]
        return float(np.mean(shares))

    assert 0.1 < most_frequent(0.3) < most_frequent(0.6) < most_frequent(0.9)
    assert most_frequent(0.9) > 0.6


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"count": 0}, "users count 0: must be 1 or more"),
        ({"tested": 0}, "users tested 0: must be 1 or more"),
        ({"labelled": 0, "unlabelled": 0}, "there is nothing to learn from"),
        ({"skew": 1.0}, "users skew 1.0: must be from 0"),
    ],
)
def test_users_who_cannot_be(setting: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Users(**setting)
