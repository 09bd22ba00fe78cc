"""What candidates that nobody has built will cost, by what like ones cost: good enough to choose which to build.

A Gaussian process a figure, as for the error. Costs are products of some parameters and say nothing of others, such as
the branches or the learning rate: length scales tell the ones from the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .observations import SHIFT
from .surrogate import Surrogate, fitted_kernel


class CostGuess:
    """Guesses figures from parameters."""

    def __init__(self, features: np.ndarray, figures: Sequence[Mapping[str, float]]) -> None:
        """Length scales are fitted to candidates whose figures are known, ``features`` of shape (n, d)."""
        self._names = tuple(figures[0])
        self._units = np.maximum(self._values(figures).max(axis=0), 1.0)
        self._kernels = [fitted_kernel(features, scaled) for scaled in self._scaled(figures).T]
        self.know(features, figures)

    def know(self, features: np.ndarray, figures: Sequence[Mapping[str, float]]) -> None:
        """Guess from these candidates from now on."""
        sure = np.zeros(len(features))
        columns = zip(self._kernels, self._scaled(figures).T, strict=True)
        self._guesses = [Surrogate(kernel, features, scaled, sure) for kernel, scaled in columns]

    def __call__(self, features: np.ndarray) -> list[dict[str, float]]:
        """Return figures by name for each row of features (n, d)."""
        scaled = np.column_stack([guess.means(features) for guess in self._guesses])
        figures = np.maximum(np.exp(scaled) - SHIFT, 0.0) * self._units
        return [dict(zip(self._names, row, strict=True)) for row in figures.tolist()]

    def _values(self, figures: Sequence[Mapping[str, float]]) -> np.ndarray:
        return np.array([[known[name] for name in self._names] for known in figures], dtype=float)

    def _scaled(self, figures: Sequence[Mapping[str, float]]) -> np.ndarray:
        """Return logarithms of shares of the greatest cost; far below a hundredth of it all are alike."""
        return np.log(self._values(figures) / self._units + SHIFT)
