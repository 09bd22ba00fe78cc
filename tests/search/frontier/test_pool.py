"""Where proposals come from: in the space, different, and near their parents."""

import random

from hypothesis import given
from hypothesis import strategies as st

from repareto.search.frontier.pool import children, random_candidates


@given(st.integers(0, 1000))
def test_children_are_candidates_of_the_space_and_differ(lab, seed: int) -> None:
    rng = random.Random(seed)
    parents = random_candidates(lab.space, 3, rng)
    found = children(lab.space, parents, 20, rng)
    assert 0 < len(found) <= 20
    assert len(set(found)) == len(found)
    assert all(lab.space.candidate(dict(child)) == child for child in found)


def test_children_are_nearer_their_parent_than_chance_is(lab) -> None:
    rng = random.Random(0)
    (parent,) = random_candidates(lab.space, 1, rng)

    def same(candidates: list) -> float:
        return sum(child.get(name) == parent[name] for child in candidates for name in parent) / len(candidates)

    assert same(children(lab.space, [parent], 100, rng)) > 2 * same(random_candidates(lab.space, 100, rng))


def test_a_space_of_one_candidate_has_one(lab) -> None:
    from dataclasses import replace

    from repareto.spaces.space import Choice, Float, Int

    space = replace(
        lab.space, form=Choice(("plain",)), width=Int(8, 8), skip=Choice((True,)), learning_rate=Float(0.1, 0.1)
    )
    rng = random.Random(0)
    (only,) = random_candidates(space, 10, rng)
    assert children(space, [only], 10, rng) == [only]
    assert children(space, [], 10, rng) == []
