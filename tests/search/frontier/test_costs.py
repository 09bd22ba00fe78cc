"""What unbuilt candidates will cost."""

import random

import numpy as np

from repareto.search.frontier.costs import CostGuess
from repareto.search.frontier.features import Encoder
from tests.search.conftest import size_of


def test_a_product_of_parameters_is_guessed_to_some_per_cent(lab) -> None:
    rng, encode = random.Random(0), Encoder(lab.space)
    known = [lab.space.draw(rng) for _ in range(64)]
    guess = CostGuess(encode(known), [{"macs": 100.0 * size_of(c), "nothing": 0.0} for c in known])
    others = [lab.space.draw(rng) for _ in range(50)]
    figures = guess(encode(others))
    ratios = np.array([f["macs"] / (100.0 * size_of(c)) for f, c in zip(figures, others, strict=True)])
    assert np.median(np.abs(np.log(ratios))) < 0.2
    assert all(f["nothing"] < 1.001 for f in figures)
