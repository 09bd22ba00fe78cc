"""Handwritten digits of 8 x 8 pixels that come with scikit-learn: a task that trains in seconds, without a download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998), its test part of 1,797 images.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from .cache import load_or_make
from .dataset import Dataset, Split

HELD_OUT_SHARE = 0.4
BRIGHTEST = 16


@dataclass(frozen=True)
class Digits:
    """The ten digits, features of shape (n, 1, 8, 8), normalised; it has no settings."""

    def load(self, *, seed: int) -> Dataset:
        """60 % train, 20 % validation, 20 % test, each with the digits in equal shares; ``seed`` draws which.

        Kept in the cache, for importing scikit-learn takes longer than all the rest.
        """
        key = {"source": "digits", "seed": seed, "scikit-learn": version("scikit-learn")}
        return load_or_make("digits", key, lambda: _split(seed), None)


def _split(seed: int) -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, digits = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 1, 8, 8)
    everything = np.arange(len(digits))
    train, held_out = train_test_split(everything, test_size=HELD_OUT_SHARE, stratify=digits, random_state=seed)
    validation, test = train_test_split(held_out, test_size=0.5, stratify=digits[held_out], random_state=seed)
    mean, std = float(pixels[train].mean()), float(pixels[train].std())

    def split(indices: np.ndarray) -> Split:
        normalised = (pixels[indices] - mean) / std
        return Split(normalised.astype(np.float32), digits[indices].astype(np.int64))

    return Dataset(
        name="digits",
        labels=tuple(str(digit) for digit in range(10)),
        train=split(train),
        validation=split(validation),
        test=split(test),
        front_end={
            "kind": "pixels",
            "channels": 1,
            "height": 8,
            "width": 8,
            "darkest": 0,
            "brightest": BRIGHTEST,
            "mean": mean,
            "std": std,
        },
    )
