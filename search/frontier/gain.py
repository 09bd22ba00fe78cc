"""How much a candidate is expected to add to the hypervolume when its costs are known and its error is guessed.

The expected hypervolume improvement (Emmerich et al. 2006) over boxes that cover what the front leaves undominated
(Lacour et al. 2017, arXiv 1510.01963, use such boxes for the hypervolume). With one uncertain coordinate it has a
closed form: where a box spans errors from l to u, its costs' share is a factor and its error's is the integral of
P(E <= t) from l to u, a difference of two expected shortfalls E[(t - E)+]. All values are in units of the reference
point, the error first. Shapes: n candidates, k boxes, m objectives, f members of the front.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

CELLS_AT_ONCE = 2_000_000


class Boxes(NamedTuple):
    """Disjoint boxes; ``lower`` and ``upper`` have shape (k, m)."""

    lower: np.ndarray
    upper: np.ndarray


class LogNormal(NamedTuple):
    """Independent guesses of errors: exp(mean + deviation * z) - shift, z standard normal; shapes (n,)."""

    mean: np.ndarray
    deviation: np.ndarray
    shift: float

    @property
    def median(self) -> np.ndarray:
        return np.exp(self.mean) - self.shift

    def shortfall(self, levels: np.ndarray) -> np.ndarray:
        """Return E[(level - error)+] for each guess and level, shape (n, len(levels))."""
        level, mean, deviation = levels[None] + self.shift, self.mean[:, None], self.deviation[:, None]
        d = (np.log(level) - mean) / deviation
        return level * ndtr(d) - np.exp(mean + deviation**2 / 2) * ndtr(d - deviation)


def undominated_boxes(front: np.ndarray) -> Boxes:
    """Return boxes that cover what of the unit box no row of ``front`` (f, m) dominates; O(f^2) boxes for m = 3."""
    boxes = Boxes(np.zeros((1, front.shape[1])), np.ones((1, front.shape[1])))
    # Along one axis there are fewer boxes than in most other orders.
    for point in front[np.argsort(front[:, -1], kind="stable")]:
        boxes = _cut(boxes, np.maximum(point, 0.0))
    return boxes


def _cut(boxes: Boxes, point: np.ndarray) -> Boxes:
    """Return the boxes without what ``point`` (m,) dominates."""
    hit = (point < boxes.upper).all(axis=1)
    lower, upper = boxes.lower[hit], boxes.upper[hit]
    corner = np.maximum(lower, point)
    pieces = [Boxes(boxes.lower[~hit], boxes.upper[~hit])]
    for axis in range(len(point)):
        # What lies before the point on this axis and not on any earlier one.
        before = lower[:, axis] < point[axis]
        piece = Boxes(lower[before].copy(), upper[before].copy())
        piece.lower[:, :axis] = corner[before, :axis]
        piece.upper[:, axis] = point[axis]
        pieces.append(piece)
    return Boxes(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def expected_gains(boxes: Boxes, costs: np.ndarray, errors: LogNormal) -> np.ndarray:
    """Return the expected gain in hypervolume of each candidate, shape (n,); ``costs`` has shape (n, m - 1)."""
    levels, places = np.unique(np.stack([boxes.lower[:, 0], boxes.upper[:, 0]]), return_inverse=True)
    low, high = places.reshape(2, -1)
    shortfall = errors.shortfall(levels)
    gains = np.empty(len(costs))
    rows = max(1, CELLS_AT_ONCE // max(1, len(boxes.lower)))
    for start in range(0, len(costs), rows):
        part = slice(start, start + rows)
        volume = shortfall[part][:, high] - shortfall[part][:, low]
        for axis in range(1, boxes.lower.shape[1]):
            sides = boxes.upper[:, axis] - np.maximum(boxes.lower[:, axis], costs[part, axis - 1, None])
            volume *= np.maximum(sides, 0.0)
        gains[part] = volume.sum(axis=1)
    return gains
