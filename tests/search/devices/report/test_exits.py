"""Costs of early exits: the formula, its bounds, and a simulation of samples that leave one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.devices.report.exits import exit_costs, exit_probabilities
from repareto.spaces.errors import UserError

COSTS = st.floats(0, 1e6)


@st.composite
def models(draw: st.DrawFn) -> tuple[list[float], list[float], list[float]]:
    exits = draw(st.integers(1, 6))
    counts = draw(st.lists(st.integers(0, 100), min_size=exits, max_size=exits).filter(any))
    stages, heads = (draw(st.lists(COSTS, min_size=exits, max_size=exits)) for _ in range(2))
    return stages, heads, [count / sum(counts) for count in counts]


def test_by_hand() -> None:
    costs = exit_costs([100, 50, 30], [10, 5, 2], [0.5, 0.3, 0.2])
    assert costs.up_to == (110, 165, 197)
    assert costs.expected == pytest.approx(0.5 * 110 + 0.3 * 165 + 0.2 * 197)
    assert costs.worst == 197


@given(models())
def test_the_mean_lies_between_the_first_exit_and_the_last(model: tuple[list[float], list[float], list[float]]) -> None:
    costs = exit_costs(*model)
    assert costs.up_to[0] * (1 - 1e-6) - 1e-6 <= costs.expected <= costs.worst * (1 + 1e-6) + 1e-6
    assert costs.worst == pytest.approx(sum(model[0]) + sum(model[1]))


@given(st.integers(1, 50), st.integers(1, 4), st.integers(0, 2**32))
def test_the_formula_is_the_mean_over_samples(samples: int, exits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidences, thresholds = rng.random((samples, exits)), rng.random(exits - 1).tolist()
    stages, heads = rng.integers(0, 100, exits).tolist(), rng.integers(0, 100, exits).tolist()
    paid = []
    for row in confidences:
        cost = 0
        for place in range(exits):
            cost += stages[place] + heads[place]
            if place == exits - 1 or row[place] >= thresholds[place]:
                break
        paid.append(cost)
    costs = exit_costs(stages, heads, exit_probabilities(confidences, thresholds))
    assert costs.expected == pytest.approx(np.mean(paid))
    assert costs.worst >= max(paid)


def test_an_exit_takes_a_sample_that_is_exactly_as_sure_as_asked() -> None:
    assert exit_probabilities(np.array([[0.9, 0.1], [0.8, 0.1]]), [0.9]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("stages", "heads", "probabilities", "message"),
    [
        ([], [], [], "0 stages, 0 heads and 0 probabilities"),
        ([1, 2], [1], [0.5, 0.5], "2 stages, 1 heads and 2 probabilities"),
        ([1, -2], [1, 1], [0.5, 0.5], "stage 1 is -2"),
        ([1, 2], [float("nan"), 1], [0.5, 0.5], "head 0 is nan"),
        ([1, 2], [1, float("inf")], [0.5, 0.5], "head 1 is inf"),
        ([1, 2], [1, 1], [1.5, -0.5], "probability 1 is -0.5"),
        ([1, 2], [1, 1], [0.5, 0.4], "the probabilities add up to 0.9"),
    ],
)
def test_what_is_no_model_with_exits(stages, heads, probabilities, message: str) -> None:
    with pytest.raises(UserError, match=f"exits: .*{message}"):
        exit_costs(stages, heads, probabilities)


@pytest.mark.parametrize(
    ("confidences", "thresholds", "message"),
    [
        (np.zeros((0, 2)), [0.5], r"confidences of shape \(0, 2\)"),
        (np.zeros(3), [0.5], r"confidences of shape \(3,\)"),
        (np.zeros((3, 2)), [0.5, 0.5], r"confidences of shape \(3, 2\) and 2 thresholds"),
        (np.array([[np.nan, 1.0]]), [0.5], "a confidence is NaN"),
    ],
)
def test_confidences_that_tell_nothing(confidences: np.ndarray, thresholds: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        exit_probabilities(confidences, thresholds)
