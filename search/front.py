"""Pareto fronts, their ranks and their hypervolume. All values are minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..spaces.errors import UserError


def _checked(values: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
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


class GrowingFront:
    """The front of rows that come one by one, and its hypervolume; a row that does not reach it costs O(front)."""

    def __init__(self, reference: np.ndarray) -> None:
        self._reference = np.asarray(reference, dtype=float)
        self._keys = np.zeros(0, dtype=int)
        self._values = np.zeros((0, len(self._reference)))
        self.hypervolume = 0.0
        """As :func:`hypervolume` of all rows."""

    @property
    def members(self) -> list[int]:
        """The keys of the rows that no other row dominates."""
        return self._keys.tolist()

    def add(self, key: int, row: Sequence[float]) -> None:
        """Add a row of objectives; raises :class:`UserError` for NaN and infinite values."""
        values = _checked([row])
        equal = (self._values == values).all(axis=1)
        if ((self._values <= values).all(axis=1) & ~equal).any():
            return
        stays = equal | ~(values <= self._values).all(axis=1)
        self._keys = np.append(self._keys[stays], key)
        self._values = np.concatenate([self._values[stays], values])
        if not equal.any():
            self.hypervolume = hypervolume(self._values, self._reference)
