"""A guess of a candidate's error, and how sure it is: a Gaussian process on logarithms of errors.

Length scales and noise are the most probable ones under the priors of Hvarfner et al. 2024 (arXiv 2402.02229), which
hold with ten trials and with forty dimensions. Errors are in units of the reference. Shapes: n trials, d features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from .gain import LogNormal
from .observations import SHIFT

SMOOTHNESS = 2.5
NOISE_PRIOR = (-4.0, 1.0)
"""Mean and standard deviation of the logarithm of the noise's variance, in units of the variance of all."""
LENGTH_PRIOR = (math.sqrt(2), math.sqrt(3))
"""Likewise of a length scale; half the logarithm of the number of features is added to the mean."""
LENGTH_BOUNDS, NOISE_BOUNDS = (0.02, 1e3), (1e-5, 1.0)
STEPS = 40


class Surrogate:
    """Guesses errors from features, given some that are known."""

    def __init__(self, kernel: Any, features: np.ndarray, scaled: np.ndarray, variances: np.ndarray) -> None:
        """``kernel`` is one of :func:`fitted_kernel`; ``scaled`` are errors, shape (n,), after
        :func:`.observations.to_scale`, and ``variances`` say how far each may be off beyond the common noise."""
        self._middle, self._spread = scale_of(scaled)
        self._kernel, self._features, self._scaled, self._variances = kernel, features, scaled, variances
        self._process = GaussianProcessRegressor(
            kernel, alpha=1e-8 + variances / self._spread**2, optimizer=None, copy_X_train=False
        )
        self._process.fit(features, (scaled - self._middle) / self._spread)

    def guess(self, features: np.ndarray) -> LogNormal:
        """Return what errors rows of features (n, d) would have after full training, their noise included."""
        mean, deviation = self._process.predict(features, return_std=True)
        return LogNormal(self._middle + self._spread * mean, self._spread * deviation, SHIFT)

    def means(self, features: np.ndarray) -> np.ndarray:
        """Return the means of :meth:`guess`, shape (n,), without the time that its deviations take."""
        return self._middle + self._spread * self._process.predict(features)

    def believing(self, features: np.ndarray) -> Surrogate:
        """Return the surrogate that would be if rows had turned out as expected: what runs need not be tried again."""
        expected = self.means(features)
        return Surrogate(
            self._kernel,
            np.concatenate([self._features, features]),
            np.concatenate([self._scaled, expected]),
            np.concatenate([self._variances, np.zeros(len(features))]),
        )


def scale_of(scaled: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation, the latter 1 where all are equal."""
    return float(scaled.mean()), float(scaled.std()) or 1.0


def fitted_kernel(features: np.ndarray, scaled: np.ndarray) -> Any:
    """Return the kernel that explains errors, after :func:`.observations.to_scale`, best."""
    columns = features.shape[1]
    prior_means = np.array([LENGTH_PRIOR[0] + math.log(columns) / 2] * columns + [NOISE_PRIOR[0]])
    prior_deviations = np.array([LENGTH_PRIOR[1]] * columns + [NOISE_PRIOR[1]])

    def most_probable(objective: Callable[..., Any], start: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
        def penalised(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = objective(theta)
            far = (theta - prior_means) / prior_deviations
            return value + (far**2).sum() / 2, gradient + far / prior_deviations

        found = minimize(penalised, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
        return found.x, found.fun

    kernel = Matern(np.ones(columns), [LENGTH_BOUNDS] * columns, nu=SMOOTHNESS) + WhiteKernel(
        math.exp(NOISE_PRIOR[0]), NOISE_BOUNDS
    )
    middle, spread = scale_of(scaled)
    process = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=most_probable)
    with warnings.catch_warnings():
        # A length scale at its bound is a feature that does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(features, (scaled - middle) / spread)
    return process.kernel_
