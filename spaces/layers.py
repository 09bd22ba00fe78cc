"""Layers that published networks share: convolutions with batch normalisation, and residual sums."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import Fusable, statistics_of
from .kernels import KernelAndBias, fold_batch_norm


class Normed(Fusable):
    """A convolution without padding of its own, or a linear layer, followed by batch normalisation.

    ``padding`` are zeros before and after each axis, last axis first, as ``torch.nn.functional.pad`` takes them.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.layer, self.padding = layer, padding
        norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
        self.norm = norm(layer.weight.shape[0], eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(F.pad(x, self.padding) if any(self.padding) else x))

    def fused(self) -> nn.Module:
        """Return the one layer, with a zero pad before it only where the padding is not symmetric."""
        layer = self.layer
        weight = layer.weight.detach().double()
        own_bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().double()
        folded_norm = fold_batch_norm(KernelAndBias(weight, own_bias), statistics_of(self.norm))
        kernel, bias = (tensor.to(layer.weight.dtype) for tensor in folded_norm)
        left, right, top, bottom = self.padding
        symmetric = (left, top) == (right, bottom)
        folded = _empty_copy(layer, (top, left) if symmetric else (0, 0))
        folded.weight, folded.bias = nn.Parameter(kernel), nn.Parameter(bias)
        folded.train(self.training)
        return folded if symmetric else nn.Sequential(nn.ZeroPad2d(self.padding), folded)


def _empty_copy(layer: nn.Conv2d | nn.Linear, padding: tuple[int, int]) -> nn.Conv2d | nn.Linear:
    """Return a layer of the same form without weights, a convolution with a padding of its own."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, device="meta")
    return nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=padding,
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        device="meta",
    )


class Residual(nn.Module):
    """Two convolutions with an activation between them beside a shortcut, and an activation of the sum."""

    def __init__(self, first: nn.Module, second: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.shortcut = first, second, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.second(torch.relu(self.first(x))))


def normed_conv(
    read: int,
    written: int,
    kernel: tuple[int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Normed:
    """Return a normed convolution without bias, padded by half of its kernel on either side."""
    convolution = nn.Conv2d(read, written, kernel, stride=stride, dilation=dilation, groups=groups, bias=False)
    vertical, horizontal = (rate * (size - 1) // 2 for rate, size in zip(dilation, kernel, strict=True))
    return Normed(convolution, (horizontal, horizontal, vertical, vertical))


class Grouped(nn.Module):
    """The channels in groups, each through a layer of its own, side by side again."""

    def __init__(self, sizes: list[int], layers: list[nn.Module]) -> None:
        super().__init__()
        self.sizes, self.layers = sizes, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.layers, x.split(self.sizes, dim=1), strict=True)
        return torch.cat([layer(part) for layer, part in parts], dim=1)

    def fit_to_layers(self) -> None:
        """Split where the layers, of which channels were removed, now want it."""
        self.sizes = [layer.in_channels for layer in self.layers]  # type: ignore[misc]
