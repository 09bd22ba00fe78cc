"""By what an exit is sure enough: a score for each example and exit, which its threshold is held against.

Shape legend: n examples, e exits (the last one included), *steps of a transcriber, none of a classifier, c classes or
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def confidence(probabilities: np.ndarray) -> np.ndarray:
    """Return the largest probability, (n, e) of (n, e, *steps, c)."""
    return _over_steps(probabilities.max(axis=-1))


def certainty(probabilities: np.ndarray) -> np.ndarray:
    """Return ``1 - H / ln c``, H the entropy (BranchyNet, arXiv 1709.01686): 0 of a guess, 1 of a certainty."""
    logarithms = np.log(np.maximum(probabilities, np.finfo(float).tiny))
    return _over_steps(1 + (probabilities * logarithms).sum(axis=-1) / np.log(probabilities.shape[-1]))


def _over_steps(scores: np.ndarray) -> np.ndarray:
    """The mean over the steps, (n, e): of windows that are alike in length, what is expected to be wrong of one."""
    return scores.reshape(*scores.shape[:2], -1).mean(axis=2)


def agreement(probabilities: np.ndarray) -> np.ndarray:
    """Return how many exits in a row, this one the last, name one class, of (n, e, c) (PABEE, arXiv 2006.04152)."""
    named = probabilities.argmax(axis=2)
    run = np.ones(named.shape)
    for index in range(1, named.shape[1]):
        run[:, index] += run[:, index - 1] * (named[:, index] == named[:, index - 1])
    return run


POLICIES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "confidence": confidence,
    "entropy": certainty,
    "patience": agreement,
}
