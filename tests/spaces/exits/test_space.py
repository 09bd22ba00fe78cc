"""Exits as dimensions: conditional on their count, complaints by key, places that never clash."""

import random
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.errors import UserError
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.exits.places import Place
from repareto.spaces.exits.space import WithExits, choose_places
from repareto.spaces.space import Candidate, Choice, Parameter, SearchSpace, load_space

SHAPE = (6, 20)


def space(**exits: object) -> SearchSpace:
    return load_space({"name": "repcnn", "width": 8, "stages": [1, 2], "blocks": [1, 2], "exits": exits})


def test_what_exists_follows_from_the_count() -> None:
    searched = space(count=[0, 3])
    for seed in range(40):
        candidate = searched.draw(random.Random(seed))
        own = candidate.exits()
        count = own.pop("count")
        numbered = {f"{name}{number}" for number in range(1, int(count) + 1) for name in ("place", "head")}
        assert set(own) == (numbered | {"weight", "distillation", "backbone"} if count else set())
        assert searched.candidate(dict(candidate)) == candidate
        network = searched.build(candidate, SHAPE, 3).eval()
        assert isinstance(network, MultiExit) == bool(count)
        if isinstance(network, MultiExit):
            # A stem and as many blocks as there are; each block has one place before it.
            blocks = sum(candidate.integer(f"stage{s}.blocks") for s in range(1, candidate.integer("stages") + 1))
            assert network.exits == 1 + min(int(count), blocks)
        assert network(torch.zeros(2, *SHAPE)).shape == (2, 3)


def test_a_fixed_count_has_no_conditions_and_none_has_no_dimensions() -> None:
    added = {p.name: p for p in space(count=2).parameters() if p.name.startswith("exits.")}
    assert all(parameter.parent is None for parameter in added.values())
    assert added["exits.place2"].exists_in({})
    assert [p.name for p in space(count=0).parameters() if p.name.startswith("exits.")] == ["exits.count"]


@pytest.mark.parametrize(
    ("exits", "complaint"),
    [
        (3, r"space.exits 3: must be keys and values \(try count: \[0, 3\]\)"),
        ({"cuont": 2}, r"space.exits.cuont: unknown key \(did you mean count\?\)"),
        ({"count": [0, 9]}, r"space.exits.count: \[0, 9\] is not within \[0, 3\]"),
        ({"head": "big"}, r"space.exits.head: 'big' is not among"),
        ({"policy": ["luck"]}, r"space.exits.policy: \['luck'\] is not among"),
    ],
)
def test_mistakes_are_named(exits: object, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_space({"name": "repcnn", "exits": exits})


def test_a_network_without_a_place_is_refused_by_name() -> None:
    searched = load_space({"name": "mlperf_tiny", "model": "autoencoder", "exits": {"count": 1}})
    with pytest.raises(UserError, match="a network of mlperf_tiny has no place for an exit"):
        searched.build(searched.middle(), SHAPE, 3)


@dataclass(frozen=True)
class Line(SearchSpace):
    name: ClassVar[str] = "line"
    width: Choice = Choice((4,))

    def parameters(self) -> tuple[Parameter, ...]:
        return (Parameter("width", self.width),)

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Linear(input_shape[-1] * candidate.integer("width"), classes)


def test_a_network_that_is_no_chain_is_refused_by_name() -> None:
    searched = WithExits.of(Line(), {"count": 1})
    with pytest.raises(UserError, match="the networks of line are no chain"):
        searched.build(searched.middle(), SHAPE, 3)


def test_exits_and_front_ends_go_together() -> None:
    searched = load_space({"name": "tc_resnet8", "exits": {"count": 1}, "front_end": {"bands": [20, 40]}})
    candidate = searched.middle()
    assert candidate.exits()["count"] == 1 and candidate.front_end() == {"bands": 20}
    assert isinstance(searched.build(candidate, (20, 50), 3), MultiExit)


@given(st.integers(1, 6), st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=4))
def test_places_are_different_in_order_and_as_many_as_there_can_be(count: int, wanted: list[tuple[float, str]]) -> None:
    places = tuple(Place(index, (1, 1, 1)) for index in range(count))
    chosen = choose_places(places, wanted)
    indices = [place.index for place, _ in chosen]
    assert indices == sorted(set(indices)) and len(chosen) == min(count, len(wanted))
    if len(wanted) == 1:
        assert indices == [min(int(wanted[0][0] * count), count - 1)]
