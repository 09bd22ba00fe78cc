"""Masks on the kernels that ship: all branches of a block share one, so that what it takes out stays out after fusion.

A sum of sparse branches is not sparse, so the mask has the form of the fused kernel. Single convolutions keep it in
their own weights, which are set to zero after each step; branches that are products of two kernels mask the product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..branches import (
    AverageBranch,
    Branch,
    BranchedConv,
    ConvBranch,
    ConvShape,
    IdentityBranch,
    SequentialBranch,
    _crop,
    statistics_of,
)
from ..kernels import (
    CONVOLUTIONS,
    KernelAndBias,
    Statistics,
    average_kernel,
    compose_pointwise,
    fold_batch_norm,
)
from ..layers import Normed
from .gates import fused_skeleton_of, site_of
from .walk import flow_of

_LEAST_SCALE = 1e-3


class KernelSite(ABC):
    """A dense kernel of a model in training, as it is after fusion: (written, read, *taps), or (written, read)."""

    def __init__(self, module: nn.Module, depth: float) -> None:
        self.module, self.depth = module, depth
        self.mask: Tensor | None = None
        self._held: list[tuple[Tensor, Tensor]] = []

    @property
    def output_axis(self) -> int:
        """That axis of the module's output along which lies what the kernel writes."""
        return 1

    @abstractmethod
    def kernel(self) -> Tensor:
        """Return the fused kernel, masked, in the model's dtype."""

    @abstractmethod
    def add(self, change: Tensor) -> None:
        """Change the fused kernel by that much."""

    @abstractmethod
    def columns(self, x: Tensor) -> Tensor:
        """Return what of the module's input each kernel is multiplied with, (places, read * taps)."""

    @abstractmethod
    def _masked_weights(self, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the weights that a mask of the fused kernel's form is for, each with its part."""

    def set_mask(self, mask: Tensor) -> None:
        """Let only those elements of the fused kernel that are true differ from zero, from now on."""
        self.mask = mask
        # In the order in which the weights lie in memory: this is done after each step of training.
        self._held = [(weight, torch.empty_like(weight).copy_(part)) for weight, part in self._masked_weights(mask)]
        self.project()

    @torch.no_grad()
    def scale(self, factor: Tensor) -> None:
        """Multiply the fused kernel element by element, but for what identities and products add to it."""
        for weight, part in self._masked_weights(factor):
            weight.mul_(part)

    @torch.no_grad()
    def project(self) -> None:
        """Set masked weights to zero again, after a step that may have moved them."""
        for weight, part in self._held:
            weight.mul_(part)


class PlainSite(KernelSite):
    """A convolution or a linear layer by itself."""

    module: nn.Conv1d | nn.Conv2d | nn.Linear

    @property
    def output_axis(self) -> int:
        return -1 if isinstance(self.module, nn.Linear) else 1

    def kernel(self) -> Tensor:
        return self.module.weight.detach().clone()

    @torch.no_grad()
    def add(self, change: Tensor) -> None:
        self.module.weight += change

    def columns(self, x: Tensor) -> Tensor:
        layer = self.module
        if isinstance(layer, nn.Linear):
            return x.reshape(-1, layer.in_features)
        assert not isinstance(layer.padding, str)
        padding = [amount for size in reversed(layer.padding) for amount in (size, size)]
        return _columns(F.pad(x, padding), layer)

    def _masked_weights(self, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(self.module.weight, mask)]


class NormedSite(KernelSite):
    """A layer with a batch normalisation, which fusion folds into it."""

    module: Normed

    def _scale(self) -> Tensor:
        norm = self.module.norm
        assert norm.running_var is not None
        scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        return scale.reshape(-1, *[1] * (self.module.layer.weight.dim() - 1))

    def kernel(self) -> Tensor:
        return self.module.layer.weight.detach() * self._scale()

    @torch.no_grad()
    def add(self, change: Tensor) -> None:
        self.module.layer.weight += change / _away_from_zero(self._scale())

    def columns(self, x: Tensor) -> Tensor:
        layer = self.module.layer
        if isinstance(layer, nn.Linear):
            return x.reshape(-1, layer.in_features)
        return _columns(F.pad(x, self.module.padding), layer)

    def _masked_weights(self, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(self.module.layer.weight, mask)]


class BranchedSite(KernelSite):
    """A branched block. Changes of its kernel go into its first full-size convolution."""

    module: BranchedConv

    def __init__(self, module: BranchedConv, depth: float) -> None:
        super().__init__(module, depth)
        for index, branch in enumerate(module.branches):
            masked = _masked_form(branch, module.shape)
            module.branches[index] = masked.to(next(branch.parameters()).device).train(branch.training)
        self._convs = [branch for branch in module.branches if isinstance(branch, ConvBranch)]
        self._masked = [branch for branch in module.branches if isinstance(branch, MaskedIdentity | MaskedProduct)]

    def kernel(self) -> Tensor:
        return self.module.kernel_and_bias().kernel.to(next(self.module.parameters()).dtype)

    @torch.no_grad()
    def add(self, change: Tensor) -> None:
        written = self.module.shape.out_channels
        full = next(branch for branch in self._convs if branch.kernel_size == self.module.shape.kernel_size)
        norm = full.norm
        assert norm.running_var is not None
        scale = norm.weight[:written] / torch.sqrt(norm.running_var[:written] + norm.eps)
        full.conv.weight[:written] += change / _away_from_zero(scale.reshape(-1, *[1] * (change.dim() - 1)))

    def columns(self, x: Tensor) -> Tensor:
        shape = self.module.shape
        return _unfolded(F.pad(x, shape.pad_amounts), shape.kernel_size, shape.stride, shape.dilation)

    def set_mask(self, mask: Tensor) -> None:
        for branch in self._masked:
            branch.set_mask(mask)
        super().set_mask(mask)

    def _masked_weights(self, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(branch.conv.weight, self._part(branch, mask)) for branch in self._convs]

    def _part(self, branch: ConvBranch, mask: Tensor) -> Tensor:
        """Return the part of a mask that a smaller kernel lies on, for each of its copies."""
        offsets = self.module.shape.offset(branch.kernel_size)
        for axis, (size, offset) in enumerate(zip(branch.kernel_size, offsets, strict=True), start=2):
            mask = mask.narrow(axis, offset, size)
        return mask.repeat(branch.copies, *[1] * (mask.dim() - 1))


def _masked_form(branch: nn.Module, shape: ConvShape) -> nn.Module:
    """Return the branch itself where a mask can lie in its weights, and a form of it that has a mask where not."""
    if isinstance(branch, IdentityBranch):
        return MaskedIdentity(branch, shape)
    return MaskedProduct(branch, shape) if isinstance(branch, AverageBranch | SequentialBranch) else branch


class MaskedIdentity(Branch):
    """The input itself, batch-normalised, but for channels whose own tap is masked."""

    mask: Tensor

    def __init__(self, branch: IdentityBranch, shape: ConvShape) -> None:
        super().__init__()
        self.branch, self.shape = branch, shape
        self.register_buffer("mask", torch.ones(shape.out_channels))

    def set_mask(self, mask: Tensor) -> None:
        for offset in reversed(self.shape.offset((1,) * self.shape.spatial_dims)):
            mask = mask[..., offset]
        self.mask.copy_(mask.diagonal())

    def forward(self, padded: Tensor) -> Tensor:
        x = _crop(padded, self.shape, (1,) * self.shape.spatial_dims)
        return self.branch.norm(x * self.mask.reshape(-1, *[1] * self.shape.spatial_dims))

    def kernel_and_bias(self) -> KernelAndBias:
        kernel, bias = self.branch.kernel_and_bias()
        return KernelAndBias(kernel * self.mask.reshape(-1, *[1] * (kernel.dim() - 1)).double(), bias)


class MaskedProduct(Branch):
    """A 1x1 convolution and an average or a convolution behind it, computed as the one kernel that they are, masked.

    With a mask of ones it is the branch itself, statistics of the batch included.
    """

    mask: Tensor

    def __init__(self, branch: AverageBranch | SequentialBranch, shape: ConvShape) -> None:
        super().__init__()
        self.branch, self.shape = branch, shape
        per_group = shape.in_channels // shape.groups
        self.register_buffer("mask", torch.ones(shape.out_channels, per_group, *shape.kernel_size))

    def set_mask(self, mask: Tensor) -> None:
        self.mask.copy_(mask)

    @property
    def _first(self) -> Any:
        return self.branch.mix if isinstance(self.branch, AverageBranch) else self.branch.first

    @property
    def _norm(self) -> nn.Module:
        return self.branch.norm if isinstance(self.branch, AverageBranch) else self.branch.second.norm

    def _second_kernel(self, like: Tensor) -> Tensor:
        if isinstance(self.branch, SequentialBranch):
            return self.branch.second.conv.weight.to(like.dtype)
        shape = self.shape
        return average_kernel(shape.out_channels, shape.groups, shape.kernel_size, like)

    def _masked_product(self, first: KernelAndBias) -> KernelAndBias:
        second = self._second_kernel(first.kernel)
        product = compose_pointwise(first, KernelAndBias(second, second.new_zeros(len(second))), self.shape.groups)
        return KernelAndBias(product.kernel * self.mask.to(second.dtype), product.bias)

    def forward(self, padded: Tensor) -> Tensor:
        conv, norm, shape = self._first.conv, self._first.norm, self.shape
        statistics = statistics_of(norm)
        if self.training:
            mixed = conv(padded)
            norm(mixed)  # for its running statistics
            variance, mean = torch.var_mean(mixed, [0, *range(2, mixed.dim())], unbiased=False)
            statistics = Statistics(mean, variance, norm.weight, norm.bias, norm.eps)
        kernel = conv.weight if self.training else conv.weight.double()
        folded = fold_batch_norm(KernelAndBias(kernel, kernel.new_zeros(len(kernel))), statistics)
        weight, bias = (part.to(padded.dtype) for part in self._masked_product(folded))
        convolve = CONVOLUTIONS[shape.spatial_dims]
        y = convolve(padded, weight, bias, stride=shape.stride, dilation=shape.dilation, groups=shape.groups)
        return self._norm(y)

    @torch.no_grad()
    def kernel_and_bias(self) -> KernelAndBias:
        return fold_batch_norm(self._masked_product(self._first.kernel_and_bias()), statistics_of(self._norm))


def kernel_sites(model: nn.Module, input_shape: Sequence[int]) -> list[KernelSite]:
    """Return the dense kernels of a model in training, in the order in which they run; it is made ready for masks.

    Depthwise and grouped kernels are left out: they are few, and all that joins their channels to anything.
    """
    skeleton = fused_skeleton_of(model)
    layers = flow_of(skeleton, input_shape).layers
    sites: dict[str, KernelSite] = {}
    for index, layer in enumerate(layers):
        name = site_of(model, layer.weight)
        module = model.get_submodule(name)
        form = next((form for kind, form in _SITES if isinstance(module, kind)), None)
        if layer.groups == 1 and name not in sites and form is not None:
            sites[name] = form(module, index / len(layers))
    return list(sites.values())


_SITES: tuple[tuple[Any, Any], ...] = (
    (BranchedConv, BranchedSite),
    (Normed, NormedSite),
    ((nn.Conv1d, nn.Conv2d, nn.Linear), PlainSite),
)


def _columns(padded: Tensor, layer: nn.Conv1d | nn.Conv2d) -> Tensor:
    return _unfolded(padded, layer.kernel_size, layer.stride, layer.dilation)


def _unfolded(padded: Tensor, kernel: Any, stride: Any, dilation: Any) -> Tensor:
    """Return what each place of a convolution reads, (places, channels * taps); 1-D as 2-D of height 1."""
    if padded.dim() == 3:
        padded, kernel = padded.unsqueeze(2), (1, *kernel)
        stride, dilation = (size if isinstance(size, int) else (1, *size) for size in (stride, dilation))
    return F.unfold(padded, kernel, dilation=dilation, stride=stride).movedim(1, 2).flatten(0, 1)


def _away_from_zero(scale: Tensor) -> Tensor:
    """Return factors that can be divided by."""
    return torch.where(scale < 0, scale.clamp_max(-_LEAST_SCALE), scale.clamp_min(_LEAST_SCALE))
