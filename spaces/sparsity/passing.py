"""Fused convolutions that pass their input on: what is left of a block of a chain where it is to go."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..kernels import embed_kernel, identity_kernel

Convolution = nn.Conv1d | nn.Conv2d


def convolution_of(layer: nn.Module) -> Convolution:
    """Return the convolution of a fused layer, which may have a pad in front."""
    convolution = layer[-1] if isinstance(layer, nn.Sequential) else layer
    assert isinstance(convolution, Convolution), layer
    return convolution


def passing_kernel(layer: nn.Module) -> Tensor:
    """Return the kernel with which a fused layer that keeps the shape of its input, and has no bias, passes it on."""
    convolution = convolution_of(layer)
    kernel_size, like = convolution.kernel_size, convolution.weight.detach()
    identity = identity_kernel(convolution.out_channels, convolution.groups, len(kernel_size), like)
    # The tap that lies on the output: as many taps stand before it as zeros before the input.
    zeros_and_rates = zip(_zeros_before(layer), convolution.dilation, strict=True)
    return embed_kernel(identity, kernel_size, tuple(zeros // rate for zeros, rate in zeros_and_rates))


def passes_on(layer: nn.Module) -> bool:
    """Return whether a fused layer gives exactly what it reads."""
    convolution = convolution_of(layer)
    has_bias = convolution.bias is not None and bool(convolution.bias.any())
    return not has_bias and torch.equal(convolution.weight, passing_kernel(layer))


def _zeros_before(layer: nn.Module) -> tuple[int, ...]:
    """Return how many zeros stand before the input on each axis."""
    if isinstance(layer, nn.Sequential):
        amounts = layer[0].padding
        assert isinstance(amounts, tuple), layer
        return tuple(reversed(amounts[0::2]))
    padding = convolution_of(layer).padding
    assert isinstance(padding, tuple), layer
    return padding
