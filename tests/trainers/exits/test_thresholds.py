"""Where examples leave, and the rule of quality, against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.trainers.exits.thresholds import exits_taken, lower_bound, quality_thresholds


@st.composite
def held_out(draw) -> tuple[np.ndarray, np.ndarray]:
    """Scores of few values, so that there are ties, and what is right, likelier where the score is high."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (draw(st.integers(0, 40)), draw(st.integers(1, 3)))
    scores = rng.integers(0, 6, shape) / 5
    return scores, rng.random(shape) < 0.4 + 0.6 * scores


@given(held_out(), st.lists(st.sampled_from([None, 0.0, 0.4, 1.0, 2.0]), min_size=3, max_size=3))
def test_an_example_leaves_at_the_first_exit_that_is_sure(data, bars) -> None:
    scores, _ = data
    bars = bars[: scores.shape[1] - 1]
    expected = [
        next((i for i, bar in enumerate(bars) if bar is not None and row[i] >= bar), scores.shape[1] - 1)
        for row in scores
    ]
    assert exits_taken(scores, bars).tolist() == expected


@given(held_out(), st.sampled_from([0.3, 0.7, 0.9]), st.integers(1, 4), st.sampled_from([0.0, 1.0]))
def test_the_rule_of_quality_by_trying_every_threshold(data, aim: float, least: int, deviations: float) -> None:
    scores, right = data
    left = list(range(len(scores)))
    expected: list[float | None] = []
    for index in range(scores.shape[1]):
        best = None
        for bar in sorted({scores[n, index] for n in left}):
            accepted = [n for n in left if scores[n, index] >= bar]
            share = np.mean([right[n, index] for n in accepted])
            bound = lower_bound(share * len(accepted), np.array(len(accepted)), deviations)
            if len(accepted) >= least and bound >= aim - 1e-12:
                best = float(bar)
                break
        expected.append(best)
        if best is not None:
            left = [n for n in left if scores[n, index] < best]
    found = quality_thresholds(scores, right, aim - 1e-12, least_accepted=least, deviations=deviations)
    assert found == tuple(expected)


def test_wilsons_bound_by_hand_and_in_its_limits() -> None:
    # Wilson 1927: (p + z^2/2n - z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), 81 of 263 at z = 1.96 is 0.2553.
    assert float(lower_bound(np.array(81), np.array(263), 1.96)) == pytest.approx(0.2553, abs=5e-5)
    assert float(lower_bound(np.array(10), np.array(10), 0.0)) == 1
    assert float(lower_bound(np.array(8), np.array(8), 1.0)) == pytest.approx(8 / 9)


def test_an_exit_that_is_never_good_enough_is_off() -> None:
    scores = np.linspace(0, 1, 20)[:, None]
    assert quality_thresholds(scores, np.zeros((20, 1), bool), 0.5) == (None,)
    # Right, but of too few to tell.
    assert quality_thresholds(scores[:7], np.ones((7, 1), bool), 0.5) == (None,)
    assert quality_thresholds(scores[:8], np.ones((8, 1), bool), 0.5) == (0.0,)
