"""A network that got its normalisations back computes what it did, and can be fused again."""

import random

import pytest
import torch

from repareto.spaces.exits.network import AllAnswers
from repareto.spaces.fusion import fused_copy
from repareto.spaces.layers import Normed
from repareto.spaces.renormalise import renormalised
from repareto.spaces.space import load_space
from tests.spaces.networks import randomise_norms

SHAPE = (40, 13)
SPACES = (
    {"name": "repcnn", "width": 8, "padding": "same", "exits": {"count": 2}},
    {"name": "repcnn", "width": 8, "padding": "causal"},
    {"name": "bc_resnet", "width": 8},
    {"name": "ds_cnn"},
)


@pytest.mark.parametrize("settings", SPACES, ids=lambda settings: " ".join(map(str, settings.values())))
def test_it_computes_the_same_and_fuses_to_the_same_layers(settings: dict) -> None:
    torch.manual_seed(0)
    space = load_space(settings)
    network = randomise_norms(space.build(space.draw(random.Random(1)), SHAPE, 4).eval())
    fused, x = fused_copy(network), torch.randn(16, *SHAPE)
    normed = renormalised(fused, x)
    assert any(isinstance(module, Normed) for module in normed.modules())
    expected = AllAnswers(fused)(x).detach()
    for other in (normed, fused_copy(normed)):
        torch.testing.assert_close(AllAnswers(other)(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    shapes = {name: value.shape for name, value in fused.state_dict().items()}
    assert {name: value.shape for name, value in fused_copy(normed).state_dict().items()} == shapes


def test_scale_does_not_matter_any_more() -> None:
    """What it is for: in training a smaller kernel gives outputs as large as before."""
    torch.manual_seed(0)
    space = load_space({"name": "ds_cnn"})
    x = torch.randn(64, *SHAPE)
    normed = renormalised(fused_copy(space.build(space.middle(), SHAPE, 4).eval()), x).train()
    first = next(module for module in normed.modules() if isinstance(module, Normed))
    before = first(x.unsqueeze(1))
    first.layer.weight.data *= 0.1
    torch.testing.assert_close(first(x.unsqueeze(1)), before, rtol=0.1, atol=0.1)
