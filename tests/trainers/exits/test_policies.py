"""Scores by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.trainers.exits.policies import POLICIES, agreement, certainty, confidence
from repareto.trainers.exits.temperature import softmax

# Two examples, three exits, two classes.
PROBABILITIES = np.array([[[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], [[0.5, 0.5], [1.0, 0.0], [0.7, 0.3]]])


def test_scores_by_hand() -> None:
    assert confidence(PROBABILITIES).tolist() == [[0.9, 0.8, 0.9], [0.5, 1.0, 0.7]]
    assert certainty(PROBABILITIES)[1] == pytest.approx([0, 1, 1 + (0.7 * np.log(0.7) + 0.3 * np.log(0.3)) / np.log(2)])
    assert agreement(PROBABILITIES).tolist() == [[1, 1, 2], [1, 2, 3]]


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(2, 5))
def test_scores_have_a_place_for_each_exit_and_stay_in_their_range(seed: int, exits: int, classes: int) -> None:
    probabilities = softmax(5 * np.random.default_rng(seed).standard_normal((7, exits, classes)))
    for name, policy in POLICIES.items():
        scores = policy(probabilities)
        assert scores.shape == (7, exits)
        assert scores.min() >= -1e-9 and scores.max() <= (exits if name == "patience" else 1 + 1e-9)


def test_agreement_counts_as_a_loop_does() -> None:
    probabilities = softmax(np.random.default_rng(1).standard_normal((30, 5, 3)))
    named = probabilities.argmax(2)
    for example, row in zip(named, agreement(probabilities), strict=True):
        for index in range(5):
            run = 1
            while run <= index and example[index - run] == example[index]:
                run += 1
            assert row[index] == run


def test_of_steps_the_mean_counts() -> None:
    """What a transcriber gives: the second example and exit of three steps."""
    steps = softmax(np.random.default_rng(2).standard_normal((3, 2, 3, 4)))
    for policy in (confidence, certainty):
        expected = np.mean([policy(steps[1:2, 1:2, step])[0, 0] for step in range(3)])
        assert policy(steps)[1, 1] == pytest.approx(expected)
