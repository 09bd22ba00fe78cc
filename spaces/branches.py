"""Branched convolutions: several linear branches in training, one convolution after fusion.

``y = sum_i BN_i(K_i * x) + BN(k1x1 * x) + BN(x) + ...`` (RepCNN, arXiv 2406.02652). The activation stands outside, so
a block stays linear and therefore fusable.

One idea keeps every branch exact: **the block pads its input once with zeros and every branch is a "valid"
convolution on the padded input**. "Same" and causal padding, even kernels, dilation and a batch normalisation in front
of a convolution then need no special case: what a branch sees beyond the border is what its fused kernel sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kernels import (
    CONVOLUTIONS,
    KernelAndBias,
    Statistics,
    average_kernel,
    compose_pointwise,
    embed_kernel,
    fold_batch_norm,
    identity_kernel,
)
from .padding import same_padding

Padding = Literal["same", "causal"]
"""Causal in time, which is the last axis: no output sees a later frame. Other axes, such as frequency, stay centred."""
BATCH_NORMS: dict[int, type[nn.BatchNorm1d] | type[nn.BatchNorm2d]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
CONV_MODULES: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
PAD_MODULES: dict[int, Any] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d}


class Fusable(nn.Module, ABC):
    """A module that trains in one form and ships in another that computes the same function."""

    @abstractmethod
    def fused(self) -> nn.Module:
        """Return the plain module that equals this one in eval mode, in the same dtype and on the same device."""


@dataclass(frozen=True)
class Topology:
    """Which branches a block trains with. Fusion makes one kernel of all: none of them costs anything on the device."""

    conv: int = 1
    """Parallel full-size convolutions (MobileOne's over-parameterisation factor), at least 0."""
    pointwise: bool = False
    """A 1x1 convolution (RepVGG)."""
    identity: bool = False
    """A batch-normalised skip; present only where the block keeps channels and stride is 1 (RepVGG)."""
    average: bool = False
    """An average pool, after a 1x1 unless the block is depthwise (Diverse Branch Block)."""
    sequential: bool = False
    """A 1x1 followed by a full-size convolution (Diverse Branch Block)."""
    small: bool = False
    """A convolution of half the kernel size (ACNet's kernel sums)."""

    def __post_init__(self) -> None:
        if self.conv < 0 or not any(getattr(self, field.name) for field in fields(self)):
            raise ValueError(f"a block needs at least one branch, got {self}")

    def __str__(self) -> str:
        names = [field.name for field in fields(self) if field.name != "conv" and getattr(self, field.name)]
        return "+".join([f"{self.conv}conv"] * (self.conv > 0) + names)


@dataclass(frozen=True)
class ConvShape:
    """The convolution that a block equals after fusion."""

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: Padding = "same"
    input_size: tuple[int, ...] | None = None
    """Of the input, where it is known: a strided convolution is then padded as TFLite does by itself, which for an even
    size is a zero less in front than centred kernels have."""

    def __post_init__(self) -> None:
        if self.spatial_dims not in CONVOLUTIONS:
            raise ValueError(f"kernel_size {self.kernel_size}: 1-D and 2-D convolutions only")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {self.in_channels} -> {self.out_channels} channels")

    @property
    def spatial_dims(self) -> int:
        return len(self.kernel_size)

    @property
    def keeps_shape(self) -> bool:
        return self.in_channels == self.out_channels and self.stride == 1

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.in_channels == self.out_channels

    def anchor(self, kernel_size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the tap of a kernel that lies on its output: the centre, or in time the last when causal."""
        *others, time = kernel_size
        centres = ((size - 1) // 2 for size in others)
        return (*centres, time - 1 if self.padding == "causal" else (time - 1) // 2)

    def offset(self, kernel_size: tuple[int, ...]) -> tuple[int, ...]:
        """Return where a smaller kernel's first tap lies in the full one when their anchors coincide."""
        pairs = zip(self.anchor(self.kernel_size), self.anchor(kernel_size), strict=True)
        return tuple(full - small for full, small in pairs)

    @property
    def pad_amounts(self) -> list[int]:
        """Zeros before and after each axis, last axis first, as ``torch.nn.functional.pad`` takes them."""
        amounts: list[int] = []
        for axis in reversed(range(self.spatial_dims)):
            amounts += self._pad_of(axis)
        return amounts

    def _pad_of(self, axis: int) -> tuple[int, int]:
        size, is_causal = self.kernel_size[axis], self.padding == "causal" and axis == self.spatial_dims - 1
        if self.stride > 1 and self.input_size is not None and not is_causal:
            return same_padding((size - 1) * self.dilation + 1, self.input_size[axis], self.stride)
        anchor = self.anchor(self.kernel_size)[axis]
        return anchor * self.dilation, (size - 1 - anchor) * self.dilation


class Branch(nn.Module, ABC):
    """One linear branch on the padded input of its block."""

    @abstractmethod
    def forward(self, padded: Tensor) -> Tensor: ...

    @abstractmethod
    def kernel_and_bias(self) -> KernelAndBias:
        """Return the full-size kernel and the bias that this branch equals in eval mode, in float64."""


def statistics_of(norm: nn.Module) -> Statistics:
    """Return what a batch normalisation computes in eval mode, in float64."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.detach().double(), norm.running_var.detach().double()
    return Statistics(mean, variance, norm.weight.detach().double(), norm.bias.detach().double(), norm.eps)


def _without_bias(kernel: Tensor) -> KernelAndBias:
    kernel = kernel.detach().double()
    return KernelAndBias(kernel, kernel.new_zeros(kernel.shape[0]))


class ConvBranch(Branch):
    """``copies`` parallel convolutions of one kernel size, each with its own batch normalisation.

    The copies run as one convolution with ``copies`` times the output channels, ordered (group, copy, channel in the
    group): the same function and gradients as separate branches in one call instead of several.
    """

    def __init__(self, shape: ConvShape, kernel_size: tuple[int, ...], copies: int = 1) -> None:
        super().__init__()
        self.shape, self.kernel_size, self.copies = shape, kernel_size, copies
        conv = CONV_MODULES[shape.spatial_dims](
            shape.in_channels,
            shape.out_channels * copies,
            kernel_size,  # type: ignore[arg-type]
            stride=shape.stride,
            dilation=shape.dilation,
            groups=shape.groups,
            bias=False,
        )
        self.conv = conv
        self.norm = BATCH_NORMS[shape.spatial_dims](shape.out_channels * copies)

    def _by_copy(self, channels_first: Tensor) -> Tensor:
        """View (groups * copies * channels, ...) as (groups, copies, channels, ...)."""
        groups, per_group = self.shape.groups, self.shape.out_channels // self.shape.groups
        return channels_first.reshape(groups, self.copies, per_group, *channels_first.shape[1:])

    def forward(self, padded: Tensor) -> Tensor:
        y = self.norm(self.conv(_crop(padded, self.shape, self.kernel_size)))
        if self.copies == 1:
            return y
        # Summed along the last axis, for that is how channels lie in memory.
        groups, per_group = self.shape.groups, self.shape.out_channels // self.shape.groups
        return y.movedim(1, -1).unflatten(-1, (groups, self.copies, per_group)).sum(-2).flatten(-2).movedim(-1, 1)

    def kernel_and_bias(self) -> KernelAndBias:
        folded = fold_batch_norm(_without_bias(self.conv.weight), statistics_of(self.norm))
        kernel = self._by_copy(folded.kernel).sum(1).flatten(0, 1)
        bias = self._by_copy(folded.bias).sum(1).flatten()
        offset = self.shape.offset(self.kernel_size)
        return KernelAndBias(embed_kernel(kernel, self.shape.kernel_size, offset), bias)


class IdentityBranch(Branch):
    """The input itself, batch-normalised."""

    def __init__(self, shape: ConvShape) -> None:
        super().__init__()
        assert shape.keeps_shape
        self.shape = shape
        self.norm = BATCH_NORMS[shape.spatial_dims](shape.out_channels)

    def forward(self, padded: Tensor) -> Tensor:
        return self.norm(_crop(padded, self.shape, (1,) * self.shape.spatial_dims))

    def kernel_and_bias(self) -> KernelAndBias:
        shape, statistics = self.shape, statistics_of(self.norm)
        identity = identity_kernel(shape.out_channels, shape.groups, shape.spatial_dims, statistics.mean)
        folded = fold_batch_norm(_without_bias(identity), statistics)
        offset = shape.offset((1,) * shape.spatial_dims)
        return KernelAndBias(embed_kernel(folded.kernel, shape.kernel_size, offset), folded.bias)


class AverageBranch(Branch):
    """An average pool over the kernel's taps, batch-normalised; a normalised 1x1 in front unless depthwise."""

    ones: Tensor

    def __init__(self, shape: ConvShape) -> None:
        super().__init__()
        self.shape = shape
        self.mix = None if shape.is_depthwise else _PointwiseOnPadded(shape, shape.out_channels)
        self.norm = BATCH_NORMS[shape.spatial_dims](shape.out_channels)
        # A constant depthwise convolution rather than avg_pool, which knows no dilation. Of ones, and divided
        # afterwards: 1 / k stored in float32 would stay inexact in a model that is converted to float64.
        ones = torch.ones(shape.out_channels, 1, *shape.kernel_size)
        self.register_buffer("ones", ones, persistent=False)

    def forward(self, padded: Tensor) -> Tensor:
        shape = self.shape
        mixed = padded if self.mix is None else self.mix(padded)
        convolve = CONVOLUTIONS[shape.spatial_dims]
        ones = self.ones.to(mixed.dtype)
        sums = convolve(mixed, ones, stride=shape.stride, dilation=shape.dilation, groups=shape.out_channels)
        return self.norm(sums / self.ones[0].numel())

    def kernel_and_bias(self) -> KernelAndBias:
        shape, statistics = self.shape, statistics_of(self.norm)
        kernel = average_kernel(shape.out_channels, shape.groups, shape.kernel_size, statistics.mean)
        pooled = fold_batch_norm(_without_bias(kernel), statistics)
        if self.mix is None:
            return pooled
        return compose_pointwise(self.mix.kernel_and_bias(), pooled, shape.groups)


class SequentialBranch(Branch):
    """A normalised 1x1 convolution followed by a normalised full-size one, no activation between."""

    def __init__(self, shape: ConvShape) -> None:
        super().__init__()
        self.shape = shape
        self.first = _PointwiseOnPadded(shape, shape.in_channels)
        self.second = ConvBranch(shape, shape.kernel_size)

    def forward(self, padded: Tensor) -> Tensor:
        return self.second(self.first(padded))

    def kernel_and_bias(self) -> KernelAndBias:
        return compose_pointwise(self.first.kernel_and_bias(), self.second.kernel_and_bias(), self.shape.groups)


class _PointwiseOnPadded(nn.Module):
    """A normalised 1x1 convolution of the padded input, border included, at stride 1."""

    def __init__(self, shape: ConvShape, out_channels: int) -> None:
        super().__init__()
        conv = CONV_MODULES[shape.spatial_dims]
        self.conv = conv(shape.in_channels, out_channels, 1, groups=shape.groups, bias=False)
        self.norm = BATCH_NORMS[shape.spatial_dims](out_channels)

    def forward(self, padded: Tensor) -> Tensor:
        return self.norm(self.conv(padded))

    def kernel_and_bias(self) -> KernelAndBias:
        return fold_batch_norm(_without_bias(self.conv.weight), statistics_of(self.norm))


def _crop(padded: Tensor, shape: ConvShape, kernel_size: tuple[int, ...]) -> Tensor:
    """Return the part of a padded input that a kernel smaller than the block's sees, anchors aligned."""
    for axis, (full, small, offset) in enumerate(
        zip(shape.kernel_size, kernel_size, shape.offset(kernel_size), strict=True), start=2
    ):
        if small != full:
            length = padded.shape[axis] - (full - small) * shape.dilation
            padded = padded.narrow(axis, offset * shape.dilation, length)
    return padded


class BranchedConv(Fusable):
    """A convolution trained as the sum of several branches.

    Input (batch, in_channels, *spatial), output (batch, out_channels, *ceil(spatial / stride)) in 1-D or 2-D. The
    branches that ``topology`` asks for and the shape admits are built; where only an inadmissible identity was asked
    for, one full-size convolution stands in.
    """

    def __init__(self, shape: ConvShape, topology: Topology) -> None:
        super().__init__()
        self.shape, self.topology = shape, topology
        branches: list[Branch] = []
        if topology.conv:
            branches.append(ConvBranch(shape, shape.kernel_size, topology.conv))
        if topology.pointwise:
            branches.append(ConvBranch(shape, (1,) * shape.spatial_dims))
        if topology.small:
            branches.append(ConvBranch(shape, tuple((size + 1) // 2 for size in shape.kernel_size)))
        if topology.identity and shape.keeps_shape:
            branches.append(IdentityBranch(shape))
        if topology.average:
            branches.append(AverageBranch(shape))
        if topology.sequential:
            branches.append(SequentialBranch(shape))
        self.branches = nn.ModuleList(branches or [ConvBranch(shape, shape.kernel_size)])

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.dim() == 4:
            # Branches train faster with the channels last (benchmarks/LOG.md); most inputs lie so already.
            x = x.contiguous(memory_format=torch.channels_last)
        padded = F.pad(x, self.shape.pad_amounts) if any(self.shape.pad_amounts) else x
        outputs = [branch(padded) for branch in self.branches]
        return sum(outputs[1:], start=outputs[0])

    def kernel_and_bias(self) -> KernelAndBias:
        """Return the one kernel and bias that all branches equal in eval mode, in float64."""
        parts = [branch.kernel_and_bias() for branch in self.branches]  # type: ignore[operator]
        kernels, biases = zip(*parts, strict=True)
        return KernelAndBias(sum(kernels[1:], start=kernels[0]), sum(biases[1:], start=biases[0]))

    def fused(self) -> nn.Module:
        """Return one convolution, with a zero pad before it only where the padding is not symmetric."""
        shape, amounts = self.shape, self.shape.pad_amounts
        before, after = amounts[0::2], amounts[1::2]
        symmetric = before == after
        conv = CONV_MODULES[shape.spatial_dims](
            shape.in_channels,
            shape.out_channels,
            shape.kernel_size,  # type: ignore[arg-type]
            stride=shape.stride,
            padding=tuple(reversed(before)) if symmetric else 0,  # type: ignore[arg-type]
            dilation=shape.dilation,
            groups=shape.groups,
            device="meta",
        )
        reference = next(self.parameters())
        if not reference.is_meta:
            kernel, bias = self.kernel_and_bias()
            conv.weight = nn.Parameter(kernel.to(reference.dtype))
            conv.bias = nn.Parameter(bias.to(reference.dtype))
        conv.train(self.training)
        if symmetric:
            return conv
        return nn.Sequential(PAD_MODULES[shape.spatial_dims](tuple(amounts), 0.0), conv)

    def extra_repr(self) -> str:
        return f"{self.shape}, {self.topology}"
