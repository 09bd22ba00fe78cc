"""The people in recordings as users: those whom neither training nor validation has heard."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ....spaces.errors import UserError
from ..dataset import Split, User
from .options import Users

FEWEST = 30
"""Recordings of one who can be a user: ten that test, and twenty to learn from."""


def speaker_of(name: str) -> str | None:
    """Return who speaks in a file called ``<speaker>_nohash_<number>.<ending>``, as in Speech Commands; else None."""
    match = re.match(r"(.+)_nohash_", name)
    return None if match is None else match[1]


def users_of(
    split: Split, speakers: Sequence[str | None], options: Users, rng: np.random.Generator
) -> tuple[User, ...]:
    """Return the speakers of a split as users; ``speakers`` (n,) says who each example is of.

    Raises :class:`UserError` where none is heard often enough.
    """
    who = np.array([speaker or "" for speaker in speakers])
    names, counts = np.unique(who, return_counts=True)
    able = [str(name) for name, count in zip(names, counts, strict=True) if name and count >= FEWEST]
    if not able:
        raise UserError(
            f"users: no speaker has {FEWEST} recordings in the test split by the names of its files "
            "(<speaker>_nohash_<number>.wav; name more speakers in testing_list.txt, or take users out)"
        )
    users = []
    for name in rng.permutation(able)[: options.count]:
        own = np.flatnonzero(who == name)
        chosen = own[options.chosen_of(split.labels[own], rng)]
        users.append(options.user(str(name), split.features[chosen], split.labels[chosen]))
    return tuple(users)
