"""Decoding against the sum over all paths, and the best path against its definition."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.trainers.decoding import Tokens, greedy, prefix_beam
from repareto.trainers.tokens import BLANK


def collapsed(path: tuple[int, ...]) -> Tokens:
    joined = [token for place, token in enumerate(path) if place == 0 or path[place - 1] != token]
    return tuple(token for token in joined if token != BLANK)


def probabilities(logits: np.ndarray) -> dict[Tokens, float]:
    """The probability of each transcript, over all paths one by one."""
    steps, tokens = logits.shape
    odds = np.exp(logits)
    chances = odds / odds.sum(1, keepdims=True)
    found: dict[Tokens, float] = defaultdict(float)
    for path in itertools.product(range(tokens), repeat=steps):
        found[collapsed(path)] += math.prod(chances[step, token] for step, token in enumerate(path))
    return found


def drawn(seed: int, steps: int, tokens: int) -> np.ndarray:
    return 2 * np.random.default_rng(seed).standard_normal((steps, tokens))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 4))
def test_a_beam_that_holds_all_prefixes_sums_over_all_paths(seed: int, steps: int, tokens: int) -> None:
    logits = drawn(seed, steps, tokens)
    expected = probabilities(logits)
    found = {one.tokens: math.exp(one.log_probability) for one in prefix_beam(logits, beam=10_000)}
    assert found.keys() == expected.keys()
    assert all(found[one] == pytest.approx(expected[one], rel=1e-9) for one in expected)
    assert sum(found.values()) == pytest.approx(1)
    best = prefix_beam(logits, beam=10_000)[0].tokens
    assert expected[best] == pytest.approx(max(expected.values()))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_narrow_beam_claims_no_more_than_there_is(seed: int, beam: int) -> None:
    logits = drawn(seed, 5, 3)
    expected = probabilities(logits)
    found = prefix_beam(logits, beam)
    assert len(found) <= beam
    assert [one.log_probability for one in found] == sorted((one.log_probability for one in found), reverse=True)
    assert all(math.exp(one.log_probability) <= expected[one.tokens] + 1e-12 for one in found)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(2, 5))
def test_greedy_collapses_the_likeliest_path(seed: int, steps: int, tokens: int) -> None:
    logits = np.stack([drawn(seed, steps, tokens), drawn(seed + 1, steps, tokens)])
    assert greedy(logits) == [collapsed(tuple(one.argmax(1))) for one in logits]


def test_a_beam_finds_what_the_best_path_misses() -> None:
    # Each step prefers the blank by a little, but most paths have a token.
    logits = np.log(np.array([[0.4, 0.35, 0.25], [0.4, 0.35, 0.25]]))
    assert greedy(logits[None]) == [()]
    assert prefix_beam(logits, 8)[0].tokens == (1,)
