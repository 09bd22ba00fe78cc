"""Writers of digits: each slants, turns, stretches and presses in a manner of their own."""

from __future__ import annotations

import numpy as np

from ..dataset import Split, User
from .options import Users

MOST_TURNED, MOST_SLANTED = 0.35, 0.35
"""Radians, and columns a row, to either side."""
STRETCHED = (0.8, 1.2)
PRESSED = (0.5, 1.0)
"""Of the usual contrast."""


def users_of(split: Split, blank: float, options: Users, rng: np.random.Generator) -> tuple[User, ...]:
    """Return users who write the images (n, 1, height, width) of a split; ``blank`` is the value of empty paper."""
    users = []
    for number in range(options.count):
        chosen = options.chosen_of(split.labels, rng)
        written = _written(split.features[chosen] - blank, rng) + blank
        users.append(options.user(f"writer{number}", written.astype(np.float32), split.labels[chosen]))
    return tuple(users)


def _written(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images (n, 1, h, w), paper 0, by one hand."""
    from scipy.ndimage import affine_transform

    turned = rng.uniform(-MOST_TURNED, MOST_TURNED)
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    slant = np.array([[1.0, 0.0], [rng.uniform(-MOST_SLANTED, MOST_SLANTED), 1.0]])
    inverse = np.linalg.inv(rotation @ slant @ np.diag(rng.uniform(*STRETCHED, 2)))
    middle = (np.array(images.shape[2:]) - 1) / 2
    whole = np.eye(4)
    whole[2:, 2:] = inverse
    offset = np.concatenate([np.zeros(2), middle - inverse @ middle])
    drawn: np.ndarray = affine_transform(images, whole, offset, order=1)
    return drawn * rng.uniform(*PRESSED)
