"""Candidates as numbers."""

import numpy as np
import pytest

from repareto.search.frontier.features import Encoder, as_share, decades
from repareto.spaces.space import Float


def test_numbers_are_shares_of_their_range_and_choices_columns(lab) -> None:
    deep = lab.space.candidate(
        {"form": "deep", "width": 34 + 2, "depth": 5, "skip": True, "training.learning_rate": 1e-3}
    )
    plain = lab.space.candidate({"form": "plain", "width": 4, "skip": False, "training.learning_rate": 1e-1})
    rows = Encoder(lab.space)([deep, plain])
    np.testing.assert_allclose(rows, [[1, 32 / 60, 1, 1, 1 / 3], [0, 0, 0.5, 0, 1]])


@pytest.mark.parametrize("log", [False, True])
def test_a_share_and_the_number_there_are_inverse(log: bool) -> None:
    dimension = Float(0.01, 10, log=log)
    for share in (0.0, 0.3, 1.0):
        assert as_share(dimension.at(share), 0.01, 10, log=log) == pytest.approx(share)
    assert as_share(3, 3, 3, log=log) == 0


def test_decades_of_nothing_are_none() -> None:
    np.testing.assert_allclose(decades(np.array([1000.0, 1.0, 0.0])), [3, 0, 0])
