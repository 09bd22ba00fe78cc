"""A block of any topology takes over what a block of any other one computes, in training mode and in eval mode."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.spaces.branches import BranchedConv, ConvShape, Topology
from repareto.spaces.inheritance import inherit
from repareto.spaces.kernels import KernelAndBias

topologies = st.builds(
    Topology,
    conv=st.integers(1, 3),
    pointwise=st.booleans(),
    identity=st.booleans(),
    average=st.booleans(),
    sequential=st.booleans(),
    small=st.booleans(),
)
shapes = st.builds(
    lambda channels, kernel, stride, depthwise, padding, dims: ConvShape(
        channels,
        channels,
        (kernel,) * dims,
        stride=stride,
        groups=channels if depthwise else 1,
        padding=padding,
    ),
    channels=st.sampled_from([2, 4]),
    kernel=st.sampled_from([1, 3, 4]),
    stride=st.integers(1, 2),
    depthwise=st.booleans(),
    padding=st.sampled_from(["same", "causal"]),
    dims=st.integers(1, 2),
)


def made(shape: ConvShape, topology: Topology, seed: int) -> BranchedConv:
    """A block that has seen some training: its statistics and scales are none that it begins with."""
    torch.manual_seed(seed)
    block = BranchedConv(shape, topology).double()
    for module in block.modules():
        if hasattr(module, "running_var"):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    return block


@settings(max_examples=60, deadline=None)
@given(shapes, topologies, topologies, st.integers(0, 100))
def test_a_child_computes_what_its_parent_does(shape, old, new, seed: int) -> None:
    parent, child = made(shape, old, seed).eval(), made(shape, new, seed + 1)
    x = torch.randn(6, shape.in_channels, *(8,) * shape.spatial_dims, dtype=torch.float64)
    expected = parent(x)
    inherit(child, parent.kernel_and_bias(), x)
    assert child.training
    torch.testing.assert_close(copy.deepcopy(child)(x), expected)
    child.eval()
    torch.testing.assert_close(child(x), expected)
    torch.testing.assert_close(child.kernel_and_bias(), parent.kernel_and_bias())


def test_copies_stay_different() -> None:
    shape = ConvShape(2, 4, (3, 3))
    child = made(shape, Topology(conv=3), 0)
    inherit(child, made(shape, Topology(), 1).kernel_and_bias(), torch.randn(4, 2, 5, 5, dtype=torch.float64))
    first, second, third = child.branches[0]._by_copy(child.branches[0].conv.weight)[0]
    assert (first - second).abs().max() > 0.01 and (second - third).abs().max() > 0.01


def test_what_cannot_hold_every_kernel_is_refused() -> None:
    shape, x = ConvShape(2, 2, (3, 3)), torch.randn(1, 2, 5, 5)
    fused = BranchedConv(shape, Topology()).kernel_and_bias()
    with pytest.raises(ValueError, match="no full-size convolution"):
        inherit(BranchedConv(shape, Topology(conv=0, pointwise=True)), fused, x)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 3\), expected \(2, 2, 3, 3\)"):
        inherit(BranchedConv(shape, Topology()), KernelAndBias(fused.kernel[..., 0], fused.bias), x)
