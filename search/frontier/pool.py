"""Candidates that might be worth training: random ones, and children of those that proved good."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from ...spaces.space import Candidate, Choice, Dimension, Float, SearchSpace, Value
from .features import as_share

CROSSING_SHARE = 0.3
"""Of children that have two parents."""
STEP = 0.2
"""The standard deviation of a number's change, as a share of its range."""


def random_candidates(space: SearchSpace, count: int, rng: random.Random) -> list[Candidate]:
    """Return so many different ones, or fewer where the space has hardly more."""
    return _different((space.draw(rng) for _ in range(2 * count)), count)


def children(space: SearchSpace, parents: Sequence[Candidate], count: int, rng: random.Random) -> list[Candidate]:
    """Return so many different ones at most, each near one of the parents or between two; none without parents."""
    if not parents:
        return []
    return _different((_child(space, parents, rng) for _ in range(2 * count)), count)


def _different(drawn: Iterator[Candidate], count: int) -> list[Candidate]:
    found: dict[Candidate, None] = {}
    for candidate in drawn:
        if len(found) == count:
            break
        found[candidate] = None
    return list(found)


def _child(space: SearchSpace, parents: Sequence[Candidate], rng: random.Random) -> Candidate:
    parent = rng.choice(parents)
    other = rng.choice(parents) if rng.random() < CROSSING_SHARE else parent
    # One change on average, two or three now and then.
    rate = 1 / len(parent)
    values: dict[str, Value] = {}
    for parameter in space.parameters():
        if not parameter.exists_in(values):
            continue
        name, dimension = parameter.name, parameter.dimension
        source = other if name in other and rng.random() < 0.5 else parent
        if name not in source:
            # A part that neither parent has, such as a stage more.
            values[name] = dimension.draw(rng)
        elif rng.random() < rate:
            values[name] = _near(dimension, source[name], rng)
        else:
            values[name] = source[name]
    return space.candidate(values)


def _near(dimension: Dimension, value: Value, rng: random.Random) -> Value:
    """Return another value of a dimension, a number's neighbours first; the same where there is no other."""
    if isinstance(dimension, Choice):
        others = [option for option in dimension.options if option != value]
        return rng.choice(others) if others else value
    assert isinstance(value, int | float)
    if dimension.low == dimension.high:
        return value
    if isinstance(dimension, Float):
        share = as_share(value, dimension.low, dimension.high, log=dimension.log)
        return dimension.at(min(max(share + rng.gauss(0, STEP), 0.0), 1.0))
    steps = (dimension.high - dimension.low) // dimension.step
    place = (int(value) - dimension.low) // dimension.step
    move = max(1, round(abs(rng.gauss(0, STEP * steps)))) * rng.choice((-1, 1))
    # Beyond an end it is reflected: every value has a neighbour.
    moved = place + move if 0 <= place + move <= steps else place - move
    return dimension.low + min(max(moved, 0), steps) * dimension.step
