"""The algebra of re-parameterisation: every linear branch equals one convolution kernel and one bias.

Kernels have shape (out_channels, in_channels / groups, *kernel_size), biases (out_channels,). All functions are pure
and keep the dtype of their input; callers fold in float64 and round once at the end.

Sources: RepVGG (arXiv 2101.03697), ACNet (1908.03930), Diverse Branch Block (2103.13425), MobileOne (2206.04040),
RepCNN (2406.02652).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d}


class KernelAndBias(NamedTuple):
    """One convolution: ``kernel`` (out_channels, in_channels / groups, *kernel_size), ``bias`` (out_channels,)."""

    kernel: Tensor
    bias: Tensor


class Statistics(NamedTuple):
    """What a batch normalisation computes in eval mode, each of shape (channels,)."""

    mean: Tensor
    variance: Tensor
    weight: Tensor
    bias: Tensor
    eps: float


def fold_batch_norm(conv: KernelAndBias, statistics: Statistics) -> KernelAndBias:
    """Return the convolution that equals ``conv`` followed by batch normalisation.

    t = gamma / sqrt(var + eps); W' = t W; b' = beta + (b - mean) t  (RepVGG, equations 3 and 4).
    """
    scale = statistics.weight / torch.sqrt(statistics.variance + statistics.eps)
    kernel = conv.kernel * scale.reshape(-1, *[1] * (conv.kernel.dim() - 1))
    return KernelAndBias(kernel, statistics.bias + (conv.bias - statistics.mean) * scale)


def embed_kernel(kernel: Tensor, kernel_size: tuple[int, ...], offset: tuple[int, ...]) -> Tensor:
    """Zero-pad ``kernel`` to ``kernel_size`` so that its first tap lands on ``offset`` (ACNet, section 3.2)."""
    padding: list[int] = []
    for small, large, start in reversed(list(zip(kernel.shape[2:], kernel_size, offset, strict=True))):
        padding += [start, large - small - start]
    if min(padding) < 0:
        raise ValueError(f"a kernel of {tuple(kernel.shape[2:])} at {offset} does not fit into {kernel_size}")
    return F.pad(kernel, padding)


def identity_kernel(channels: int, groups: int, spatial_dims: int, like: Tensor) -> Tensor:
    """Return the 1x1 kernel that copies its input: I[i, i mod (channels / groups)] = 1 (RepVGG, section 3.3)."""
    kernel = torch.zeros(channels, channels // groups, dtype=like.dtype, device=like.device)
    rows = torch.arange(channels, device=like.device)
    kernel[rows, rows % (channels // groups)] = 1
    return kernel.reshape(*kernel.shape, *[1] * spatial_dims)


def average_kernel(channels: int, groups: int, kernel_size: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the kernel of an average pool: K[c, c mod (channels / groups), :] = 1 / k^d (Diverse Branch Block)."""
    taps = torch.Size(kernel_size).numel()
    identity = identity_kernel(channels, groups, len(kernel_size), like)
    return identity.expand(*identity.shape[:2], *kernel_size) / taps


def compose_pointwise(first: KernelAndBias, second: KernelAndBias, groups: int) -> KernelAndBias:
    """Return the convolution that equals the 1x1 ``first`` followed by the KxK ``second`` of the same groups.

    K = conv2d(K2, K1^T); b = sum(K2 . b1) + b2, group by group (Diverse Branch Block, equations 8 to 10). Exact when
    the border that ``second`` sees is ``first`` applied to zeros, that is when the padding happens before ``first``.
    """
    middle_per_group = second.kernel.shape[1]
    kernels, biases = [], []
    second_by_group = second.kernel.chunk(groups)
    first_by_group = first.kernel.flatten(1).split(middle_per_group)
    for k1, k2, b1 in zip(first_by_group, second_by_group, first.bias.split(middle_per_group), strict=True):
        kernels.append(torch.einsum("om...,mi->oi...", k2, k1))
        biases.append(torch.einsum("om...,m->o", k2, b1))
    return KernelAndBias(torch.cat(kernels), torch.cat(biases) + second.bias)
