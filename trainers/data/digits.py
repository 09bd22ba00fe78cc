"""Handwritten digits of 8 x 8 pixels that come with scikit-learn: a task that trains in seconds, without a download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998), its test part of 1,797 images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from .cache import load_or_make
from .dataset import Dataset, Split
from .users.digits import users_of
from .users.options import Users

HELD_OUT_SHARE = 0.4
BRIGHTEST = 16


@dataclass(frozen=True)
class Digits:
    """The ten digits, features of shape (n, 1, 8, 8), normalised."""

    users: Users | None = None
    """Writers who turn, slant, stretch and press the digits of the test split in manners of their own."""

    def load(self, *, seed: int) -> Dataset:
        """60 % train, 20 % validation, 20 % test, each with the digits in equal shares; ``seed`` draws which.

        Kept in the cache, for importing scikit-learn takes longer than all the rest.
        """
        key: dict[str, Any] = {"source": "digits", "seed": seed, "scikit-learn": version("scikit-learn")}
        if self.users is not None:
            key["users"] = asdict(self.users)
        return load_or_make("digits", key, lambda: _split(seed, self.users), None)


def _split(seed: int, users: Users | None) -> Dataset:
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

    tested = split(test)
    blank = (0 - mean) / std
    rng = np.random.default_rng([seed, 1])
    return Dataset(
        name="digits",
        labels=tuple(str(digit) for digit in range(10)),
        train=split(train),
        validation=split(validation),
        test=tested,
        users=() if users is None else users_of(tested, blank, users, rng),
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
