"""How sure an exit may say that it is: temperature scaling and its measure (Guo et al. 2017, arXiv 1706.04599).

Shape legend: n examples, c classes.
"""

from __future__ import annotations

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
    derivative is found zero by halving: ``mean(sum_j p_j z_j - z_y)``.
    """
    of_the_label = logits[np.arange(len(labels)), labels]

    def derivative(temperature: float) -> float:
        return float(((softmax(logits, temperature) * logits).sum(axis=1) - of_the_label).mean())

    low, high = np.log(LEAST_TEMPERATURE), np.log(GREATEST_TEMPERATURE)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # Too sure: the optimum has a smaller 1 / T.
        if derivative(np.exp(middle)) > 0:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Return the mean distance between confidence and accuracy of probabilities (n, c), in bins of confidence."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
