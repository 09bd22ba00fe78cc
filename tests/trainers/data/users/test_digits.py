"""Writers of digits: the images are those of the test split, by another hand."""

import numpy as np
import pytest

from repareto.trainers.data import digits
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.users.digits import users_of
from repareto.trainers.data.users.options import Users

OPTIONS = Users(count=3, labelled=40, unlabelled=80, tested=100)


def test_each_writer_has_a_hand_of_their_own(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    data = Digits(users=OPTIONS).load(seed=0)
    again = Digits(users=OPTIONS).load(seed=0)
    assert [user.name for user in data.users] == ["writer0", "writer1", "writer2"]
    for user, kept in zip(data.users, again.users, strict=True):
        np.testing.assert_array_equal(user.own.features, kept.own.features)
        np.testing.assert_array_equal(user.test.labels, kept.test.labels)
        assert user.own.features.shape == (120, *data.input_shape) and user.own.features.dtype == np.float32
        pixels = user.test.features * data.front_end["std"] + data.front_end["mean"]
        assert pixels.min() > -1e-4 and pixels.max() < digits.BRIGHTEST + 1e-4
    plain = Digits().load(seed=0)
    np.testing.assert_array_equal(plain.test.features, data.test.features)
    assert plain.users == ()


def test_a_hand_that_does_nothing_leaves_the_images_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, still in (("MOST_TURNED", 0.0), ("MOST_SLANTED", 0.0), ("STRETCHED", (1, 1)), ("PRESSED", (1, 1))):
        monkeypatch.setattr(f"repareto.trainers.data.users.digits.{name}", still)
    split = Digits().load(seed=0).test
    (user,) = users_of(split, -0.8, Users(count=1, labelled=60, unlabelled=200, tested=100), np.random.default_rng(0))
    images = {image.tobytes() for image in np.round(split.features, 3) + 0.0}
    assert sum(image.tobytes() in images for image in np.round(user.test.features, 3) + 0.0) >= 99
