"""What a user gets of labels, of none, and of an exit that has nothing to offer."""

import numpy as np
import pytest

from repareto.trainers.exits.adapt import UNKNOWN, adapt
from repareto.trainers.exits.personal import Head
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.exits.thresholds import exits_taken

CENTRES = np.random.default_rng(5).standard_normal((4, 8)) * 2
GLOBAL = Head(CENTRES, -0.5 * (CENTRES**2).sum(1))


class User:
    """One whose features are shifted; the last exit is right in nine of ten cases, and the sure nine."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        shift = 2.5 * np.random.default_rng(6).standard_normal(8)
        self.labels = rng.integers(0, 4, count)
        self.features = [
            CENTRES[self.labels] + shift + rng.standard_normal((count, 8)),
            rng.standard_normal((count, 8)),
        ]
        said = np.where(rng.random(count) < 0.9, self.labels, (self.labels + 1) % 4)
        self.last = softmax(np.where(np.eye(4)[said] > 0, 6.0 * (said == self.labels)[:, None] + 1, 0))


def test_labels_and_pseudo_labels_make_the_good_exit_better_and_turn_the_bad_one_off() -> None:
    user, test = User(300), User(400, seed=1)
    labels = np.where(np.arange(300) < 60, user.labels, UNKNOWN)
    found = adapt([GLOBAL, GLOBAL], user.features, user.last, labels, 0.9, rng=np.random.default_rng(0))
    before = (GLOBAL(test.features[0]).argmax(1) == test.labels).mean()
    after = (found.heads[0](test.features[0]).argmax(1) == test.labels).mean()
    assert after > before + 0.1 and not found.kept_global[0]
    assert found.thresholds[0] is not None and found.thresholds[1] is None
    assert 150 < found.pseudo_labelled <= 240
    chances = softmax(found.heads[0](test.features[0]), found.temperatures[0]).max(1)
    accepted = chances >= found.thresholds[0]
    assert accepted.mean() > 0.3
    right = (found.heads[0](test.features[0]).argmax(1) == test.labels)[accepted].mean()
    assert right >= (user.last[:60].argmax(1) == user.labels[:60]).mean() - 0.03
    assert set(exits_taken(np.stack([chances, chances, chances], 1), found.thresholds)) == {0, 2}


def test_without_labels_the_last_exit_teaches_and_judges() -> None:
    user = User(300)
    nothing = np.full(300, UNKNOWN)
    found = adapt([GLOBAL], user.features[:1], user.last, nothing, 0.8, rng=np.random.default_rng(0))
    test = User(400, seed=1)
    before = (GLOBAL(test.features[0]).argmax(1) == test.labels).mean()
    assert (found.heads[0](test.features[0]).argmax(1) == test.labels).mean() > before + 0.05
    assert found.thresholds[0] is not None


def test_where_nothing_is_sure_the_heads_stay() -> None:
    user = User(40)
    unsure = np.full((40, 4), 0.25)
    found = adapt([GLOBAL], user.features[:1], unsure, np.full(40, UNKNOWN), 0.9, rng=np.random.default_rng(0))
    assert found.heads == (GLOBAL,) and found.kept_global == (True,) and found.pseudo_labelled == 0


@pytest.mark.parametrize("count", [3, 7])
def test_of_few_examples_no_exit_is_trusted(count: int) -> None:
    user = User(count)
    found = adapt([GLOBAL], user.features[:1], user.last, user.labels, 0.9, rng=np.random.default_rng(0))
    assert found.thresholds == (None,)


def test_the_same_again() -> None:
    user = User(50)
    first, again = (
        adapt([GLOBAL], user.features[:1], user.last, user.labels, 0.9, rng=np.random.default_rng(3)) for _ in range(2)
    )
    assert (first.heads[0].weight == again.heads[0].weight).all() and first.thresholds == again.thresholds
