"""What candidates that nobody has built will cost, by what like ones cost: good enough to choose which to build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.kernel_ridge import KernelRidge

from .features import decades

RIDGE = 1e-3
"""Of the ridge, in units of a squared decade: some hundredths of a decade are no matter here."""


class CostGuess:
    """A polynomial of degree two in the parameters, for the logarithm of each figure."""

    def __init__(self, features: np.ndarray, figures: Sequence[Mapping[str, float]]) -> None:
        """``features`` of shape (n, d) are of candidates whose figures are known."""
        self._names = tuple(figures[0])
        logarithms = decades(np.array([[known[name] for name in self._names] for known in figures]))
        self._middle = logarithms.mean(axis=0)
        self._model = KernelRidge(alpha=RIDGE, kernel="polynomial", degree=2, gamma=1.0, coef0=1.0)
        self._model.fit(features, logarithms - self._middle)

    def __call__(self, features: np.ndarray) -> list[dict[str, float]]:
        """Return figures by name for each row of features (n, d)."""
        figures = 10 ** (self._model.predict(features) + self._middle)
        return [dict(zip(self._names, row, strict=True)) for row in figures.tolist()]
