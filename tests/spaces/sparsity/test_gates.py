"""Gates multiply channels in training and after fusion alike; closed ones are sliced away."""

import random

import pytest
import torch

from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.blocks import structure_of
from repareto.spaces.sparsity.gates import Gates, fused_skeleton_of, gate
from repareto.spaces.sparsity.slicing import slice_zeros, sliced_to_levels
from tests.spaces.networks import randomise_norms

SHAPE = (40, 16)
NAMES = ("repcnn", "bc_resnet", "ds_cnn", "matchboxnet", "mixed_kernels", "tc_resnet8", "conformer_ctc")


@pytest.mark.parametrize("name", NAMES)
def test_closed_gates_are_sliced_away_and_the_rest_is_scaled(name: str) -> None:
    narrow = {
        "repcnn": {"width": [8, 16]},
        "bc_resnet": {"width": [8, 16]},
        "conformer_ctc": {"blocks": 1, "width": 16},
    }
    space = load_space({"name": name, **narrow.get(name, {})})
    candidate = space.draw(random.Random(3))
    torch.manual_seed(0)
    model = randomise_norms(space.build(candidate, SHAPE, 4)).double()
    inputs = torch.randn(2, *SHAPE, dtype=torch.double)
    plain = model.eval()(inputs)
    gates = Gates(structure_of(fused_skeleton_of(model), SHAPE)[1]).double()
    gate(model, SHAPE, gates)
    torch.testing.assert_close(model(inputs), plain)
    for mask in gates.mask.split(gates.sizes):
        mask.copy_(torch.rand(len(mask)) + 0.5)
        mask[: len(mask) // 2] = 0
    assert not torch.allclose(model(inputs), plain)
    fused, report = fuse(model, inputs)
    assert report.largest_relative_difference <= 1e-10
    sliced, slicing = slice_zeros(fused, SHAPE)
    assert slicing.removed == sum(size // 2 for size in gates.sizes)
    torch.testing.assert_close(sliced(inputs), fused(inputs))
    skeleton = fused_copy(space.build(candidate, SHAPE, 4).eval().to("meta"))
    sizes = [tensor.shape for tensor in sliced_to_levels(skeleton, SHAPE, (0.499,))[0].state_dict().values()]
    assert sizes == [tensor.shape for tensor in sliced.state_dict().values()]


def test_what_gates_close_gets_no_gradient() -> None:
    space = load_space({"name": "repcnn", "stages": 1, "width": 8, "blocks": 1})
    model = space.build(space.middle(), SHAPE, 4)
    gates = Gates(structure_of(fused_skeleton_of(model), SHAPE)[1])
    gate(model, SHAPE, gates)
    gates.mask[:3] = 0
    model(torch.randn(4, *SHAPE)).square().sum().backward()
    stem = model[1].layer.branches[0].conv.weight.grad
    assert gates.sizes[0] == 8
    by_channel = stem.reshape(-1, 8, *stem.shape[1:]).abs().sum((0, 2, 3, 4))
    assert torch.equal(by_channel == 0, gates.mask[:8] == 0)
