"""How many users there are, and how much each of them gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....spaces.errors import UserError
from ..dataset import NO_LABEL, Split, User


@dataclass(frozen=True)
class Users:
    """Each with recordings to learn from, few of which tell their label, and others that only test."""

    count: int = 12
    """Users. Where they are people in recordings, at most as many as there are."""
    labelled: int = 60
    """Recordings of a user that tell their label."""
    unlabelled: int = 200
    """Recordings of a user that do not."""
    tested: int = 200
    """Recordings of a user that nothing is learnt from."""
    skew: float = 0.0
    """How unevenly a user says the classes: 0 all as often, towards 1 hardly more than one. Shares of classes are drawn
    from a Dirichlet distribution of concentration (1 - skew) / skew a class (Hsu et al. 2019, arXiv 1909.06335)."""

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("labelled", 0), ("unlabelled", 0), ("tested", 1)):
            if getattr(self, name) < least:
                raise UserError(f"users {name} {getattr(self, name)}: must be {least} or more")
        if self.labelled + self.unlabelled == 0:
            raise UserError("users labelled 0, unlabelled 0: there is nothing to learn from")
        if not 0.0 <= self.skew < 1.0:
            raise UserError(f"users skew {self.skew}: must be from 0 (all classes as often) to below 1")

    @property
    def clips(self) -> int:
        """Recordings of a user."""
        return self.labelled + self.unlabelled + self.tested

    def classes_of(self, count: int, classes: int, rng: np.random.Generator) -> np.ndarray:
        """Return what a user says ``count`` times, in a random order: classes (count,), int64."""
        if not self.skew:
            return rng.permutation(np.arange(count) % classes)
        return rng.choice(classes, count, p=self._shares(classes, rng))

    def chosen_of(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return which of a user's recordings of ``labels`` (n,) there are: at most ``clips``, in a random order.

        With a skew a class has no more than its share of what the classes that are there could give.
        """
        if not self.skew:
            return rng.permutation(len(labels))[: self.clips]
        present, available = np.unique(labels, return_counts=True)
        shares = self._shares(len(present), rng)
        total = min(self.clips, len(labels))
        wanted = np.minimum(np.ceil(shares * total), available).astype(int)
        kept = [rng.permutation(np.flatnonzero(labels == k))[:most] for k, most in zip(present, wanted, strict=True)]
        return rng.permutation(np.concatenate(kept))[: self.clips]

    def _shares(self, classes: int, rng: np.random.Generator) -> np.ndarray:
        # Of a far greater concentration nothing can be drawn.
        return rng.dirichlet(np.full(classes, min((1.0 - self.skew) / self.skew, 1e6)))

    def user(self, name: str, features: np.ndarray, labels: np.ndarray) -> User:
        """Return one with these recordings, in a random order; of fewer than ``clips`` each part has its share."""
        shrink = min(1.0, len(labels) / self.clips)
        tested, labelled = round(shrink * self.tested), round(shrink * self.labelled)
        told = labels[tested:].copy()
        told[labelled:] = NO_LABEL
        return User(name, Split(features[tested:], told), Split(features[:tested], labels[:tested]))
