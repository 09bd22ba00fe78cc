"""A user's head against the optimum's own condition, against a slow descent, and what it brings."""

import numpy as np
import pytest

from repareto.trainers.exits.personal import (
    PULL,
    Head,
    fine_tuning_macs,
    head_training_cost,
    personalised,
    pseudo_labels,
)
from repareto.trainers.exits.temperature import softmax


def problem(seed: int = 0, count: int = 60) -> tuple[Head, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    head = Head(rng.standard_normal((3, 5)), rng.standard_normal(3))
    features = rng.standard_normal((count, 5)) + 1
    labels = (features @ rng.standard_normal((5, 3)) + rng.standard_normal((count, 3))).argmax(1)
    return head, features, labels, rng.uniform(0.5, 2, count)


def objective(head: Head, start: Head, features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    shares = weights / weights.sum()
    pull = PULL * np.linalg.eigvalsh(np.einsum("n,ni,nj->ij", shares, inputs, inputs))[-1] / 2
    distance = ((head.weight - start.weight) ** 2).sum() + ((head.bias - start.bias) ** 2).sum()
    chances = softmax(head(features))[np.arange(len(labels)), labels]
    return float(-(shares * np.log(chances)).sum() + pull / 2 * distance)


def test_no_head_nearby_is_better_and_a_slow_descent_ends_there() -> None:
    head, features, labels, weights = problem()
    found = personalised(head, features, labels, weights, steps=3000)
    least = objective(found, head, features, labels, weights)
    assert least < objective(head, head, features, labels, weights)
    rng = np.random.default_rng(1)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            other = Head(found.weight + size * rng.standard_normal((3, 5)), found.bias + size * rng.standard_normal(3))
            assert objective(other, head, features, labels, weights) > least
    # The usual number of steps is near enough.
    usual = objective(personalised(head, features, labels, weights), head, features, labels, weights)
    assert usual - least < 1e-3


def test_weights_are_repetitions() -> None:
    head, features, labels, _ = problem(count=10)
    weights = np.array([2.0, *[1.0] * 9])
    once = personalised(head, features, labels, weights)
    twice = personalised(head, np.r_[features[:1], features], np.r_[labels[:1], labels], np.ones(11))
    np.testing.assert_allclose(once.weight, twice.weight, atol=1e-9)


def test_a_shifted_user_is_understood_better() -> None:
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((4, 8))
    head = Head(centres, -0.5 * (centres**2).sum(1))
    shift = 2.5 * rng.standard_normal(8)
    labels = rng.integers(0, 4, 400)
    features = centres[labels] + shift + rng.standard_normal((400, 8))
    before = (head(features[80:]).argmax(1) == labels[80:]).mean()
    own = personalised(head, features[:80], labels[:80], np.ones(80))
    assert (own(features[80:]).argmax(1) == labels[80:]).mean() > before + 0.1


def test_pseudo_labels_are_those_of_sure_answers() -> None:
    places, labels = pseudo_labels(np.array([[0.9, 0.1], [0.6, 0.4], [0.05, 0.95]]), 0.9)
    assert places.tolist() == [0, 2] and labels.tolist() == [0, 1]


def test_costs_by_hand() -> None:
    cost = head_training_cost((5, 9), steps=10, examples=7, macs=1000, classes=3)
    assert cost.macs == 7 * 1000 + 10 * 7 * 2 * 3 * (6 + 10)
    assert cost.memory_bytes == 4 * (7 * (5 + 9) + 4 * 3 * 10)
    assert fine_tuning_macs(7, 1000) == pytest.approx(210_000)
