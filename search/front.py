"""Pareto fronts, their ranks and their hypervolume. All values are minimised."""

from __future__ import annotations

import numpy as np

from ..spaces.errors import UserError


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"values of shape {values.shape}, expected (n, m)")
    if not np.isfinite(values).all():
        raise UserError(f"objective values must be finite, row {int(np.argmin(np.isfinite(values).all(1)))} is not")
    return values


def pareto_ranks(values: np.ndarray) -> np.ndarray:
    """Return the non-dominated rank of each row: 0 for the front, 1 for the front of the rest, and so on.

    ``values`` has shape (n, m); equal rows share a rank. Raises :class:`UserError` for NaN and infinite values.
    """
    values = _checked(values)
    if len(values) == 0:
        return np.zeros(0, dtype=int)
    import moocore

    return moocore.pareto_rank(values)


def on_front(values: np.ndarray) -> np.ndarray:
    """Return which rows no other row dominates, shape (n,), bool; equal rows are on the front together."""
    values = _checked(values)
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    import moocore

    return moocore.is_nondominated(values, keep_weakly=True)


def hypervolume(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the share of the box between zero and ``reference`` (m,) that the rows of ``values`` (n, m) dominate.

    In [0, 1], so that studies with one reference compare whatever the units. Rows beyond the reference add nothing.
    """
    values, reference = _checked(values), np.asarray(reference, dtype=float)
    if len(values) == 0:
        return 0.0
    import moocore

    return float(moocore.hypervolume(np.maximum(values / reference, 0), ref=np.ones(len(reference))))
