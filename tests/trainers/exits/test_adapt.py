"""What a user gets of labels, of none, and of an exit that has nothing to offer."""

import numpy as np
import pytest

from repareto.trainers.data.dataset import NO_LABEL
from repareto.trainers.exits.adapt import adapt, losses_against
from repareto.trainers.exits.personal import Head
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.exits.thresholds import exits_taken

CENTRES = np.random.default_rng(5).standard_normal((4, 8)) * 2
GLOBAL = Head(CENTRES, -0.5 * (CENTRES**2).sum(1))
LAST = Head(np.eye(4), np.zeros(4))
"""Of features that are logits."""


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
        logits = np.where(np.eye(4)[said] > 0, 6.0 * (said == self.labels)[:, None] + 1, 0)
        self.last = softmax(logits)
        self.features.append(logits)


def test_labels_and_pseudo_labels_make_the_good_exit_better_and_keep_the_bad_one_quiet() -> None:
    user, test = User(300), User(400, seed=1)
    labels = np.where(np.arange(300) < 60, user.labels, NO_LABEL)
    heads = [GLOBAL, GLOBAL, LAST]
    # Of what has no label the last exit gets one in ten wrong, and where it differs nobody says who is right.
    found = adapt(heads, user.features, 1.0, labels, rng=np.random.default_rng(0), most_lost=0.03)
    before = (GLOBAL(test.features[0]).argmax(1) == test.labels).mean()
    after = (found.heads[0](test.features[0]).argmax(1) == test.labels).mean()
    assert after > before + 0.1 and not found.kept_global[0]
    assert found.thresholds[0] is not None
    assert 150 < found.pseudo_labelled <= 240
    chances = softmax(found.heads[0](test.features[0]), found.temperatures[0]).max(1)
    accepted = chances >= found.thresholds[0]
    assert accepted.mean() > 0.1
    # What is answered early is as often right as the last exit would have been.
    right = found.heads[0](test.features[0]).argmax(1) == test.labels
    by_last = found.heads[-1](test.features[-1]).argmax(1) == test.labels
    assert right[accepted].mean() >= by_last[accepted].mean() - 0.02
    by_second = softmax(found.heads[1](test.features[1]), found.temperatures[1]).max(1)
    taken = exits_taken(np.stack([chances, by_second, by_second], 1), found.thresholds)
    # It may answer for as few as are allowed to be lost.
    assert (taken == 1).mean() < 0.06 < (taken == 0).mean()


def test_without_labels_the_last_exit_teaches_and_judges() -> None:
    user = User(300)
    nothing = np.full(300, NO_LABEL)
    found = adapt([GLOBAL, LAST], user.features[::2], 1.0, nothing, rng=np.random.default_rng(0))
    # Nobody teaches the last exit.
    assert found.heads[-1] is LAST and found.kept_global == (False, True)
    test = User(400, seed=1)
    before = (GLOBAL(test.features[0]).argmax(1) == test.labels).mean()
    assert (found.heads[0](test.features[0]).argmax(1) == test.labels).mean() > before + 0.05
    # Where they differ the exit may be right, but nobody says so.
    assert found.thresholds == (None,)
    found = adapt([GLOBAL, LAST], user.features[::2], 1.0, nothing, rng=np.random.default_rng(0), most_lost=0.05)
    assert found.thresholds[0] is not None


def test_where_nothing_is_sure_the_heads_stay() -> None:
    user = User(40)
    seen = [user.features[0], np.zeros((40, 4))]
    found = adapt([GLOBAL, LAST], seen, 1.0, np.full(40, NO_LABEL), rng=np.random.default_rng(0))
    assert found.heads == (GLOBAL, LAST) and found.kept_global == (True, True) and found.pseudo_labelled == 0


def test_the_last_exit_learns_from_labels_and_teaches_what_it_has_learnt() -> None:
    user, test = User(300), User(400, seed=1)
    seen = [user.features[1], user.features[0]]
    labels = np.where(np.arange(300) < 60, user.labels, NO_LABEL)
    found = adapt([GLOBAL, GLOBAL], seen, 1.0, labels, rng=np.random.default_rng(0))

    def right(head: Head) -> float:
        return float((head(test.features[0]).argmax(1) == test.labels).mean())

    assert not found.kept_global[-1] and right(found.heads[-1]) > right(GLOBAL) + 0.1
    nothing = adapt([GLOBAL], seen[1:], 1.0, labels, rng=np.random.default_rng(0))
    # A network without early exits.
    assert nothing.thresholds == () and (nothing.heads[-1].weight == found.heads[-1].weight).all()


@pytest.mark.parametrize("count", [3, 7])
def test_of_few_examples_no_exit_is_trusted(count: int) -> None:
    user = User(count)
    found = adapt([GLOBAL, LAST], user.features[::2], 1.0, user.labels, rng=np.random.default_rng(0))
    assert found.thresholds == (None,)


def test_the_same_again() -> None:
    user = User(50)
    first, again = (
        adapt([GLOBAL, LAST], user.features[::2], 1.0, user.labels, rng=np.random.default_rng(3)) for _ in range(2)
    )
    assert (first.heads[0].weight == again.heads[0].weight).all() and first.thresholds == again.thresholds


def test_what_an_answer_loses_by_labels_and_where_nobody_tells() -> None:
    labels = np.array([NO_LABEL, 0, 1, 2])
    last = np.zeros(4, int)
    assert losses_against(last, labels, last).tolist() == [0, 0, 0, 0]
    assert losses_against(last, labels, np.ones(4, int)).tolist() == [1, 1, -1, 0]


def test_of_a_user_for_whom_the_last_exit_is_always_right_the_exits_stay_on() -> None:
    user = User(300)
    seen = [user.features[0] - 2.5 * np.random.default_rng(6).standard_normal(8), 20.0 * np.eye(4)[user.labels]]
    found = adapt([GLOBAL, LAST], seen, 1.0, np.full(300, NO_LABEL), rng=np.random.default_rng(0))
    assert found.thresholds[0] is not None
