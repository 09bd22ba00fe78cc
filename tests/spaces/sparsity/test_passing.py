"""A kernel that passes its input on, wherever its centre is."""

import pytest
import torch
from torch import nn

from repareto.spaces.branches import BranchedConv, ConvShape, Padding, Topology
from repareto.spaces.sparsity.passing import convolution_of, passes_on, passing_kernel


@pytest.mark.parametrize("padding", ["same", "causal"])
@pytest.mark.parametrize("kernel_size", [(5,), (4,), (1,), (3, 4), (1, 7)])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_it_gives_what_it_reads(padding: Padding, kernel_size: tuple[int, ...], dilation: int, groups: int) -> None:
    shape = ConvShape(4, 4, kernel_size, groups=groups, dilation=dilation, padding=padding)
    layer = BranchedConv(shape, Topology()).eval().fused()
    inputs = torch.randn(2, 4, *[16] * len(kernel_size))
    assert not passes_on(layer) and not torch.equal(layer(inputs), inputs)
    convolution = convolution_of(layer)
    convolution.weight = nn.Parameter(passing_kernel(layer))
    assert convolution.bias is not None
    convolution.bias.data.zero_()
    assert passes_on(layer) and torch.equal(layer(inputs), inputs)
    convolution.bias.data[1] = 1e-3
    assert not passes_on(layer)
