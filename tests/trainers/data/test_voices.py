"""Speakers of synthetic speech: families stay together, splits share nobody."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.trainers.data.voices import family, split_voices

SIBLINGS = ("Mike", "mike2", "anika", "anikaRobot", "whisper", "whisperf", "f1", "f2", "f3", "robosoft", "robosoft8")
KLATTS = ("klatt", "klatt2", "klatt3", "klatt4")
VARIANTS = (*SIBLINGS, *KLATTS, *(f"speaker-{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"))


def test_numbered_siblings_are_one_family() -> None:
    assert family("klatt4") == family("klatt")
    assert family("Mike") == family("mike2")
    assert family("anikaRobot") == family("anika")
    assert family("whisperf") == family("whisper")
    assert family("f1") != family("m1")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_splits_share_no_family_and_leave_nobody_out(seed: int) -> None:
    sides = split_voices(VARIANTS, np.random.default_rng(seed))
    assert list(sides) == ["train", "validation", "test"]
    assert sorted(name for side in sides.values() for name in side) == sorted(VARIANTS)
    families = [{family(name) for name in side} for side in sides.values()]
    assert not (families[0] & families[1] or families[0] & families[2] or families[1] & families[2])
    for held_out in ("validation", "test"):
        assert 0.1 * len(VARIANTS) < len(sides[held_out]) < 0.2 * len(VARIANTS)
        assert not any(name.startswith("klatt") for name in sides[held_out])  # too large a family to test alone


def test_the_generator_decides() -> None:
    first, again, other = (split_voices(VARIANTS, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
