"""A child of another size computes what its trained parent does, where nothing is lost on the way."""

import random
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.fusion import fused_copy
from repareto.spaces.morphism import UnrelatedError, inherit_network
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Choice, Int
from tests.spaces.networks import randomise_norms

SPACE = RepCNN(width=Int(4, 12, step=4), stages=Int(1, 2), kernel=Choice((3, 5, 9)))
BRANCHES = ("conv_branches", "pointwise", "identity", "average", "sequential", "small")


def built(values: dict[str, Any], shape: tuple[int, ...], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return randomise_norms(SPACE.build(SPACE.candidate(values), shape, 5).double(), seed)


def inherited(child: dict[str, Any], parent: dict[str, Any], shape: tuple[int, ...] = (6, 21)) -> tuple[nn.Module, ...]:
    """The child, its parent, and an input."""
    network, model, x = (
        built(child, shape, 1),
        fused_copy(built(parent, shape, 2).eval()),
        torch.randn(4, *shape).double(),
    )
    inherit_network(network, model, x)
    return network, model, x


@settings(max_examples=30, deadline=None)
@example(740, (6, 21))  # A kernel of 3 among the child's is nearer to the parent's 5 than the 9 that can hold it.
@given(st.integers(0, 2**32), st.sampled_from([(6, 21), (3, 9, 8)]))
def test_wider_deeper_and_with_other_branches_it_is_the_same_function(seed: int, shape: tuple[int, ...]) -> None:
    rng = random.Random(seed)
    parent = dict(SPACE.draw(rng))
    other = dict(SPACE.draw(rng))
    child = {**parent, "dropout": 0.0}
    for name in parent:
        kind = name.partition(".")[2]
        if kind in BRANCHES and name in other:
            child[name] = other[name]
        # Behind another block would stand another squeeze, which is never the identity.
        is_size = kind in ("width", "kernel") or (kind == "blocks" and not parent[f"{name.split('.')[0]}.squeeze"])
        if is_size and name in other:
            child[name] = max(parent[name], other[name])
    network, model, x = inherited(child, parent, shape)
    expected = model(x)
    assert network.training
    torch.testing.assert_close(network(x), expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())
    after = fused_copy(inherited(child, parent, shape)[0].eval())
    torch.testing.assert_close(after(x), expected, rtol=1e-6, atol=1e-6 * expected.abs().max().item())


def plain(**changes: Any) -> dict[str, Any]:
    values = {**dict(SPACE.middle()), "form": "full", "stages": 1, **{f"stage1.{name}": False for name in BRANCHES[1:]}}
    values = {name: value for name, value in values.items() if not name.startswith("stage2")}
    return {**values, "stage1.conv_branches": 1, "stage1.squeeze": False, "dropout": 0.0, "stage1.width": 8, **changes}


def test_a_narrower_one_keeps_the_strongest_channels() -> None:
    network, model, _ = inherited(plain(**{"stage1.width": 4, "stage1.blocks": 1}), plain(**{"stage1.blocks": 1}))
    kernels = [layer.kernel_and_bias().kernel for layer in network if hasattr(layer, "kernel_and_bias")]
    strengths = [layer.weight.flatten(1).norm(dim=1) for layer in model if isinstance(layer, nn.Conv2d)]
    kept = [strength.topk(4).indices.sort().values for strength in strengths]
    first, second = (layer.weight for layer in model if isinstance(layer, nn.Conv2d))
    torch.testing.assert_close(kernels[0], first[kept[0]])
    torch.testing.assert_close(kernels[1], second[kept[1]][:, kept[0]])


def test_a_shallower_one_leaves_a_layer_out() -> None:
    network, model, _ = inherited(plain(**{"stage1.blocks": 1}), plain(**{"stage1.blocks": 3}))
    kernels = [layer.kernel_and_bias().kernel for layer in network if hasattr(layer, "kernel_and_bias")]
    theirs = [layer.weight for layer in model if isinstance(layer, nn.Conv2d)]
    assert len(kernels) == 2 and len(theirs) == 4
    assert all(any(mine.shape == other.shape and torch.allclose(mine, other) for other in theirs) for mine in kernels)


def test_channels_that_are_there_twice_can_go_different_ways() -> None:
    network, *_ = inherited(plain(**{"stage1.width": 12, "stage1.blocks": 1}), plain(**{"stage1.blocks": 1}))
    head = network[-1].weight
    pairs = [
        (i, j) for i in range(12) for j in range(i) if torch.allclose(head[:, i] / head[0, i], head[:, j] / head[0, j])
    ]
    assert len(pairs) == 4
    assert all((head[:, i] - head[:, j]).abs().max() > 1e-3 for i, j in pairs)


@pytest.mark.parametrize("change", [{"stage1.stride": 2}, {"stage1.squeeze": True}])
def test_what_no_morphism_leads_to_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UnrelatedError):
        inherited(plain(**{"stage1.stride": 1, **change}), plain(**{"stage1.stride": 1}))


def test_networks_that_are_no_chains_are_refused() -> None:
    class Odd(nn.Module):
        pass

    with pytest.raises(UnrelatedError, match="a Odd is no chain"):
        inherit_network(Odd(), Odd(), torch.zeros(1))
    with pytest.raises(UnrelatedError, match="no counterpart is known of a LSTM"):
        inherit_network(nn.Sequential(nn.LSTM(2, 2)), nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))
