"""Exact inheritance across branch topologies: any branched block can be set to compute a given fused convolution.

Network morphisms (Wei et al. 2016; LEMONADE, arXiv 1804.09081) widen and deepen networks without changing what they
compute. Here it is the branches that change: all branches but the full-size one keep their own kernels, and the
full-size one takes what is left of the given kernel. Normalisations are set to undo what they do to the block's input,
so that the block computes the same in training mode, where they see that input, and in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import Branch, BranchedConv, ConvBranch
from .kernels import KernelAndBias

Norm = nn.BatchNorm1d | nn.BatchNorm2d


@torch.no_grad()
def inherit(block: BranchedConv, fused: KernelAndBias, inputs: Tensor) -> None:
    """Set the weights of ``block`` so that it computes ``fused``, the kernel and bias of another block of its shape.

    ``inputs`` (batch, in_channels, *spatial) is what the block will see: its normalisations get their statistics from
    it. The copies of a full-size convolution share what is left equally, apart from their own differences, so that they
    go on as different ones. Raises ValueError for a block without a full-size branch, which cannot hold every kernel,
    and for a kernel of another shape.
    """
    branches = [branch for branch in block.branches if isinstance(branch, Branch)]
    main = full_size_branch(block)
    if main is None:
        raise ValueError(f"{block.topology}: has no full-size convolution, so it cannot hold every kernel")
    shape = block.shape
    expected = (shape.out_channels, shape.in_channels // shape.groups, *shape.kernel_size)
    if tuple(fused.kernel.shape) != expected:
        raise ValueError(f"a kernel of shape {tuple(fused.kernel.shape)}, expected {expected}")
    padded = F.pad(inputs, block.shape.pad_amounts)
    others = [branch for branch in branches if branch is not main]
    for branch in others:
        _normalise_nothing(branch, padded)
    parts = [branch.kernel_and_bias() for branch in others]
    kernel = sum((-part.kernel for part in parts), start=fused.kernel.double())
    bias = sum((-part.bias for part in parts), start=fused.bias.double())
    own = main._by_copy(main.conv.weight.double())
    shares = own - own.mean(dim=1, keepdim=True) + _by_group(kernel, block)[:, None] / main.copies
    main.conv.weight.copy_(shares.reshape(main.conv.weight.shape))
    _normalise_nothing(main, padded)
    main._by_copy(main.norm.bias)[:, 0].add_(_by_group(bias, block))


def full_size_branch(block: BranchedConv) -> ConvBranch | None:
    """Return the branch that can hold every kernel of a block; None where it has none."""
    found = (branch for branch in block.branches if isinstance(branch, ConvBranch))
    return next((branch for branch in found if branch.kernel_size == block.shape.kernel_size), None)


def _by_group(channels_first: Tensor, block: BranchedConv) -> Tensor:
    """View (out_channels, ...) as (groups, channels of a group, ...)."""
    return channels_first.unflatten(0, (block.shape.groups, -1))


def _normalise_nothing(branch: nn.Module, padded: Tensor) -> None:
    """Set a branch's normalisations, front to back, so that each gives out what it gets of this input."""
    was_training = branch.training
    branch.eval()
    with _undoing(branch):
        branch(padded)
    branch.train(was_training)


@contextmanager
def _undoing(branch: nn.Module) -> Iterator[None]:
    def undo(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, Norm) and norm.running_mean is not None and norm.running_var is not None
        (y,) = inputs
        axes = [axis for axis in range(y.dim()) if axis != 1]
        mean, variance = y.double().mean(axes), y.double().var(axes, unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)

    hooks = [norm.register_forward_pre_hook(undo) for norm in branch.modules() if isinstance(norm, Norm)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
