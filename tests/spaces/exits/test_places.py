"""Where a chain can answer early: shapes against those that the layers give, blocks against what is known of spaces."""

import pytest
import torch
from torch import nn

from repareto.spaces.errors import UserError
from repareto.spaces.exits.places import chain_of, places_of
from repareto.spaces.space import load_space

SHAPE = (40, 50)


def built(name: str, **settings: object) -> nn.Module:
    space = load_space({"name": name, **settings})
    return space.build(space.middle(), SHAPE, 5)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("tc_resnet8", 3), ("ds_cnn", 3), ("matchboxnet", 4), ("bc_resnet", 13)],
)
def test_a_place_stands_before_each_block_and_has_the_shape_there(name: str, blocks: int) -> None:
    layers = chain_of(built(name).eval(), name)
    places = places_of(layers, SHAPE)
    assert len(places) == blocks
    x = torch.zeros(1, *SHAPE)
    for place in places:
        assert nn.Sequential(*layers[: place.index])(x).shape[1:] == place.shape
        assert nn.Sequential(*layers[: place.index], *layers[place.index :])(x).shape == (1, 5)


def test_no_place_stands_between_a_depthwise_and_its_pointwise_convolution() -> None:
    network = built("repcnn", form="separable", stages=2, blocks=2, kernel=3)
    # A stem, then four blocks of two convolutions, each followed by an activation.
    assert [place.index for place in places_of(chain_of(network, "repcnn"), SHAPE)] == [3, 7, 11, 15]


def test_looking_changes_nothing() -> None:
    network = built("repcnn")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    places_of(chain_of(network, "repcnn"), SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_nested_chains_are_one_and_other_networks_are_refused() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    assert [type(layer) for layer in chain_of(nn.Sequential(inner, nn.Flatten()), "mine")] == [
        nn.Conv2d, nn.ReLU, nn.Flatten,
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"space.exits: the networks of mine are no chain"):
        chain_of(nn.Linear(2, 2), "mine")
