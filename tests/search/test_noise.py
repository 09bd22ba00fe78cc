"""Intervals of errors, and members of a front that others may be as good as."""

from dataclasses import replace

import numpy as np
import pytest

from repareto.search.noise import error_interval, mean_interval, rivals


def test_means_of_three_lie_in_their_intervals_nine_times_of_ten() -> None:
    draws = np.random.default_rng(0).normal(0.1, 0.02, (4000, 3))
    inside = [low <= 0.1 <= high for low, high in map(mean_interval, draws.tolist())]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)


def test_the_interval_is_of_other_seeds_where_there_are_two_or_more(lab) -> None:
    record = lab.record(0, error=0.1)
    of_examples = error_interval(record, 400)
    assert of_examples == pytest.approx((0.078, 0.127), abs=2e-3)
    assert error_interval(record, None) is None
    assert error_interval(replace(record, repeats=(0.2,)), 400) == of_examples
    assert error_interval(replace(record, repeats=(0.2, 0.22)), 400) == pytest.approx(mean_interval((0.2, 0.22)))
    assert error_interval(replace(record, repeats=(0.0, 0.01)), 400)[0] == 0


def test_a_member_has_the_cheaper_ones_for_rivals_whose_errors_cannot_be_told_from_its_own(lab) -> None:
    results = lab.results(
        lab.record(0, error=0.100, latency_us=200.0),
        lab.record(1, error=0.105, latency_us=100.0),
        lab.record(2, error=0.300, latency_us=90.0),
        lab.record(3, error=0.099, latency_us=500.0),
    )
    assert rivals(results, 400) == {3: (0, 1), 0: (1,), 1: (), 2: ()}
    assert rivals(results, 10_000_000) == {3: (), 0: (), 1: (), 2: ()}
    assert rivals(results, None) == {3: (), 0: (), 1: (), 2: ()}, "nobody can tell"
