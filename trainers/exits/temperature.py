"""How sure an exit may say that it is: temperature scaling and its measure (Guo et al. 2017, arXiv 1706.04599).

Shape legend: n examples, c classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.05, 20.0
_HALVINGS = 50
BINS = 15


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the probabilities of logits (..., c)."""
    scaled = logits / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the T that gives softmax(logits / T), logits (n, c), the least negative log-likelihood of labels (n,).

    Within [0.05, 20]: where all examples are classified rightly with room, no T is least. Convex in 1 / T, whose
    derivative is found zero: ``mean(sum_j p_j z_j - z_y)``.
    """
    of_the_label = logits[np.arange(len(labels)), labels]

    def derivative(temperature: float) -> float:
        return float(((softmax(logits, temperature) * logits).sum(axis=1) - of_the_label).mean())

    return least_temperature(derivative)


def least_temperature(derivative: Callable[[float], float]) -> float:
    """Return the T within [0.05, 20] at which a loss is least, found by halving.

    ``derivative`` is that of the loss by 1 / T, at a T.
    """
    low, high = np.log(LEAST_TEMPERATURE), np.log(GREATEST_TEMPERATURE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # Too sure: the optimum has a smaller 1 / T.
        if derivative(np.exp(middle)) > 0:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def expected_calibration_error(confidences: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance between confidences (n,) and how often answers are ``right``, in bins of confidence."""
    places = np.minimum((confidences * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=confidences - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(right))
