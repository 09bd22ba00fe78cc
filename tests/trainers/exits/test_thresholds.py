"""Where examples leave, and the guard of quality, against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.trainers.exits.thresholds import DOUBT_SHARE, exits_taken, guarded_thresholds, upper_bound


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


@given(held_out(), st.sampled_from([0.01, 0.05, 0.2]), st.integers(1, 4))
def test_the_guard_by_trying_every_threshold(data, most_lost: float, least: int) -> None:
    scores, right = data
    losses = np.where(right, -0.1, 0.6)
    doubts = np.maximum(losses, 0.05 * (1 - scores))
    count, exits = scores.shape
    left, answered, doubted = list(range(count)), [], []
    expected: list[float | None] = []
    for index in range(exits):
        best = None
        for bar in sorted({scores[n, index] for n in left}):
            accepted = [n for n in left if scores[n, index] >= bar]
            lost = np.array([*answered, *(losses[n, index] for n in accepted)])
            bound = upper_bound(lost.sum(), (lost**2).sum(), count)
            doubt = sum([*doubted, *(doubts[n, index] for n in accepted)])
            holds = bound <= max(most_lost * (index + 1) / exits, 1 / count) + 1e-12
            if (
                len(accepted) >= least
                and holds
                and doubt <= DOUBT_SHARE * most_lost * (index + 1) / exits * count + 1e-9
            ):
                best = float(bar)
                break
        expected.append(best)
        if best is not None:
            answered += [losses[n, index] for n in left if scores[n, index] >= best]
            doubted += [doubts[n, index] for n in left if scores[n, index] >= best]
            left = [n for n in left if scores[n, index] < best]
    found = guarded_thresholds(scores, losses, doubts, most_lost + 1e-9, least_accepted=least)
    assert found == tuple(expected)


def test_of_shares_the_bound_is_wilsons_and_of_nothing_lost_a_share_of_one_more() -> None:
    # Wilson 1927, (p + z^2/2n + z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n): 182 of 263 at z = 1.96 is 0.7447.
    assert float(upper_bound(np.array(182), np.array(182), 263, 1.96)) == pytest.approx(0.7447, abs=5e-5)
    assert float(upper_bound(np.array(0), np.array(0), 199)) == pytest.approx(1 / 200)
    assert float(upper_bound(np.array(3), np.array(3), 30, 0.0)) == pytest.approx(0.1)
    # Gains make up for losses, but not for how far they spread.
    assert 0 < float(upper_bound(np.array(0), np.array(10), 100)) < float(upper_bound(np.array(5), np.array(10), 100))


def by_losses(scores: np.ndarray, losses: np.ndarray, most_lost: float) -> tuple[float | None, ...]:
    """Where nothing is doubted."""
    return guarded_thresholds(scores, losses, np.zeros_like(losses), most_lost)


def test_an_exit_that_loses_too_much_is_off() -> None:
    scores = np.linspace(0, 1, 200)[:, None]
    assert by_losses(scores, np.ones((200, 1)), 0.01) == (None,)
    assert by_losses(scores, np.zeros((200, 1)), 0.01) == (0.0,)
    # Nothing lost, but of too few to tell.
    assert by_losses(scores[:7], np.zeros((7, 1)), 0.5) == (None,)
    # One of many may be lost, for more cannot be told.
    assert by_losses(scores[:40], np.zeros((40, 1)), 0.01) == (0.0,)
    assert by_losses(scores[:40], np.eye(40)[:, -1:], 0.01) == (None,)
    # The first of two has half of what may be lost.
    both = np.repeat(scores, 2, axis=1)
    once = np.zeros((200, 2))
    once[199, 0] = 1
    assert by_losses(both, once, 0.011)[0] is None
    assert by_losses(both, once, 0.03) == (0.0, None)


def test_what_was_right_by_luck_is_expected_to_lose() -> None:
    scores = np.linspace(0, 1, 200)[:, None]
    nothing, doubts = np.zeros((200, 1)), 1 - scores
    (bar,) = guarded_thresholds(scores, nothing, doubts, 0.05)
    accepted = scores >= bar
    assert 0 < bar < 1 and doubts[accepted].sum() <= DOUBT_SHARE * 0.05 * 200 < doubts[scores >= bar - 0.01].sum()
    # What was lost counts, too.
    assert guarded_thresholds(scores, nothing + 1, doubts, 0.05) == (None,)
