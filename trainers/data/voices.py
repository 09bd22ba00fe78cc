"""Which synthetic speakers train and which only test, so that held-out accuracy means speakers never heard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HELD_OUT_SHARES = {"validation": 0.15, "test": 0.15}
# Variants of one speaker whose names do not differ by a number alone.
_SIBLINGS = {"anikarobot": "anika", "whisperf": "whisper"}


def family(variant: str) -> str:
    """The name that numbered siblings share: ``klatt4`` and ``klatt`` are one family, ``Mike`` and ``mike2`` too."""
    name = variant.lower().rstrip("0123456789")
    return _SIBLINGS.get(name, name)


def split_voices(variants: Sequence[str], rng: np.random.Generator) -> dict[str, tuple[str, ...]]:
    """Speakers of train, validation and test; families stay together, the held-out shares are of all speakers.

    A family that would fill more than a third of a held-out split always trains: else that split would measure this
    one family.
    """
    families: dict[str, list[str]] = {}
    for variant in variants:
        families.setdefault(family(variant), []).append(variant)
    waiting = [families[name] for name in rng.permutation(sorted(families))]
    sides: dict[str, tuple[str, ...]] = {}
    for side, share in HELD_OUT_SHARES.items():
        wanted = max(1, round(share * len(variants)))
        taken: list[str] = []
        for members in [group for group in waiting if len(group) <= max(1, wanted // 3)]:
            if len(taken) + len(members) <= wanted:
                taken += members
                waiting.remove(members)
        sides[side] = tuple(sorted(taken))
    return {"train": tuple(sorted(variant for members in waiting for variant in members)), **sides}
