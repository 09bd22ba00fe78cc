"""A network begins as one that is trained already: the morphisms between chains of layers of one search space.

Net2Net (Chen et al. 2016, arXiv 1511.05641) and network morphism (Wei et al. 2016, arXiv 1603.01670): a wider layer has
channels twice, and what reads them takes shares of each; a deeper network has layers that begin as the identity; a
larger kernel has zeros around. All that keeps what the network computes. A narrower layer keeps its strongest channels
and a shallower network leaves layers out, which does not. Which branches the child trains with is free: see
``inheritance.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .branches import BranchedConv
from .inheritance import full_size_branch, inherit
from .kernels import KernelAndBias, embed_kernel, identity_kernel
from .squeeze import Squeeze

SKIPPED, SHRUNK, GROWN = 1.0, 0.02, 1e-4
"""What counts against an alignment: that a layer has no counterpart, or one of twice its size, or of half its size.

In this order: growing loses nothing, so that much of it is better than any shrinking.
"""
LEAST_SHARE = 0.25
"""Of a channel that is there twice, in what reads it; equal shares would make both learn the same for ever."""

Conv = nn.Conv1d | nn.Conv2d


class UnrelatedError(Exception):
    """No morphism leads from one network to the other."""


@dataclass(frozen=True)
class Channels:
    """For each channel of the child: the parent's that it comes from, and its share in what reads that one."""

    origins: Tensor
    shares: Tensor

    @classmethod
    def same(cls, count: int) -> Channels:
        return cls(torch.arange(count), torch.ones(count, dtype=torch.float64))

    @classmethod
    def resized(cls, strengths: Tensor, count: int) -> Channels:
        """Return ``count`` channels made of the strongest, some twice or more where there are not so many."""
        if count <= len(strengths):
            kept = strengths.topk(count).indices.sort().values
            return cls(kept, torch.ones(count, dtype=torch.float64))
        origins = torch.cat([torch.arange(len(strengths)), _cycled(strengths, count - len(strengths))])
        drawn = LEAST_SHARE + (1 - 2 * LEAST_SHARE) * torch.rand(count, dtype=torch.float64)
        sums = torch.zeros(len(strengths), dtype=torch.float64).index_add(0, origins, drawn)
        return cls(origins, drawn / sums[origins])

    def read(self, kernel: Tensor) -> Tensor:
        """Return a kernel (outputs, the parent's channels, ...) for the child's channels."""
        shares = self.shares.reshape(1, -1, *[1] * (kernel.dim() - 2))
        return kernel[:, self.origins] * shares


def _cycled(strengths: Tensor, count: int) -> Tensor:
    order = strengths.argsort(descending=True)
    return order.repeat(math.ceil(count / len(order)))[:count]


@torch.no_grad()
def inherit_network(child: nn.Module, parent: nn.Module, inputs: Tensor) -> None:
    """Set the weights of ``child``, as a space builds it, by ``parent``, a fused and trained network of that space.

    Where no layer is narrower or missing and no kernel smaller, the child then computes what the parent does, in eval
    mode and in training mode on ``inputs`` (batch, *input_shape), from which its normalisations get their statistics.
    Shares of channels are drawn from torch's generator. Raises :class:`UnrelatedError` where the networks are no chains
    of branched convolutions, or differ in more than sizes and branches; the child is as it was then.
    """
    layers, models = _layers(child), _layers(parent)
    for layer in layers:
        if isinstance(layer, BranchedConv) and full_size_branch(layer) is None:
            raise UnrelatedError(f"{layer.topology}: has no full-size convolution, so it cannot hold every kernel")
    counterparts = iter(_aligned([_Unit.of(layer) for layer in layers], [_Unit.of(model) for model in models]))
    channels: Channels | None = None
    was_training = child.training
    child.eval()
    x = inputs
    for layer in cast(nn.Sequential, child):
        if layer in layers:
            place = next(counterparts)
            channels = _inherit_layer(layer, None if place is None else models[place], channels, x)
        x = layer(x)
    child.train(was_training)


def _layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a chain that have weights."""
    if not isinstance(network, nn.Sequential):
        raise UnrelatedError(f"a {type(network).__name__} is no chain of layers")
    return [layer for layer in network if any(True for _ in layer.parameters())]


@dataclass(frozen=True)
class _Unit:
    """What decides whether a layer can be the counterpart of another."""

    kind: str
    inputs: int
    outputs: int
    kernel_size: tuple[int, ...] = ()
    stride: int = 1
    dilation: int = 1

    @classmethod
    def of(cls, layer: nn.Module) -> _Unit:
        if isinstance(layer, nn.Linear):
            return cls("linear", layer.in_features, layer.out_features)
        if isinstance(layer, Squeeze):
            channels = cast(Conv, layer.gate[0]).in_channels
            return cls(f"squeeze {layer.pool.kernel_size} {layer.past_frames}", channels, channels)
        conv = layer.shape if isinstance(layer, BranchedConv) else _conv_of(layer)
        if conv is None or conv.groups not in (1, conv.in_channels):
            raise UnrelatedError(f"no counterpart is known of a {type(layer).__name__}")
        depthwise = conv.groups == conv.in_channels == conv.out_channels and conv.groups > 1
        stride, dilation = (value if isinstance(value, int) else value[0] for value in (conv.stride, conv.dilation))
        kind = "depthwise" if depthwise else "conv"
        return cls(kind, conv.in_channels, conv.out_channels, tuple(conv.kernel_size), stride, dilation)

    @property
    def cost_of_skipping(self) -> float:
        """What it counts that it has no counterpart; infinite where it cannot begin as the identity, or be left out."""
        can_be_identity = self.kind in ("depthwise", "conv") and self.inputs == self.outputs and self.stride == 1
        return SKIPPED if can_be_identity else math.inf

    def distance(self, other: _Unit) -> float:
        """Return what a counterpart of other sizes counts; infinite for one that cannot be."""
        if (self.kind, self.stride, self.dilation) != (other.kind, other.stride, other.dilation):
            return math.inf
        sizes = zip((self.outputs, *self.kernel_size), (other.outputs, *other.kernel_size), strict=True)
        doublings = [math.log2(mine / theirs) for mine, theirs in sizes]
        return sum(GROWN * doubling if doubling > 0 else -SHRUNK * doubling for doubling in doublings)


def _aligned(child: Sequence[_Unit], parent: Sequence[_Unit]) -> list[int | None]:
    """Return for each layer of the child the place of its counterpart, None where it begins as the identity.

    The alignment with the fewest layers left over, and of those the one that changes least (Needleman and Wunsch 1970).
    """
    costs = {(0, 0): 0.0}
    steps: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(len(child) + 1):
        for j in range(len(parent) + 1):
            options = {}
            if i and j:
                options[i - 1, j - 1] = costs[i - 1, j - 1] + child[i - 1].distance(parent[j - 1])
            if i:
                options[i - 1, j] = costs[i - 1, j] + child[i - 1].cost_of_skipping
            if j:
                options[i, j - 1] = costs[i, j - 1] + parent[j - 1].cost_of_skipping
            if options:
                steps[i, j] = min(options, key=lambda step: options[step])
                costs[i, j] = options[steps[i, j]]
    here = (len(child), len(parent))
    ends_differ = not child or not parent or child[-1].outputs != parent[-1].outputs
    if math.isinf(costs[here]) or ends_differ or child[0].inputs != parent[0].inputs:
        raise UnrelatedError("the networks differ in more than the sizes and the number of their layers")
    places: list[int | None] = []
    while here != (0, 0):
        before = steps[here]
        if before[0] < here[0]:
            places.append(before[1] if before[1] < here[1] else None)
        here = before
    return places[::-1]


def _inherit_layer(layer: nn.Module, model: nn.Module | None, channels: Channels | None, x: Tensor) -> Channels:
    """Set one layer's weights and return what its channels are; ``model`` is its counterpart."""
    if isinstance(layer, nn.Linear):
        assert isinstance(model, nn.Linear) and channels is not None
        layer.weight.copy_(channels.read(model.weight.double()))
        layer.bias.copy_(model.bias)
        return Channels.same(layer.out_features)
    if isinstance(layer, Squeeze):
        assert isinstance(model, Squeeze) and channels is not None
        _inherit_squeeze(layer, model, channels)
        return channels
    assert isinstance(layer, BranchedConv)
    shape = layer.shape
    channels = Channels.same(shape.in_channels) if channels is None else channels
    if model is None:
        identity = identity_kernel(shape.out_channels, shape.groups, shape.spatial_dims, x.new_zeros(()).double())
        centred = embed_kernel(identity, shape.kernel_size, shape.offset((1,) * shape.spatial_dims))
        inherit(layer, KernelAndBias(centred, centred.new_zeros(shape.out_channels)), x)
        return channels
    kernel, bias = _fitted_kernel(layer, model)
    if shape.groups > 1:
        inherit(layer, KernelAndBias(kernel[channels.origins], bias[channels.origins]), x)
        return channels
    made = Channels.resized(kernel.flatten(1).norm(dim=1), shape.out_channels)
    inherit(layer, KernelAndBias(channels.read(kernel)[made.origins], bias[made.origins]), x)
    return made


def _fitted_kernel(block: BranchedConv, model: nn.Module) -> KernelAndBias:
    """Return a trained kernel in the block's size, its taps where they were, and its bias, in float64."""
    conv = _conv_of(model)
    assert conv is not None and conv.bias is not None
    kernel = conv.weight.double()
    amounts: list[int] = []
    pads = zip(block.shape.pad_amounts[::2], _pads_before(model), strict=True)
    for axis, (wanted, given) in enumerate(pads, 1):
        size, own = block.shape.kernel_size[-axis], kernel.shape[-axis]
        before = (wanted - given) // block.shape.dilation
        # Negative amounts cut taps off.
        amounts += [before, size - own - before]
    return KernelAndBias(F.pad(kernel, amounts), conv.bias.double())


def _conv_of(layer: nn.Module) -> Conv | None:
    """Return a fused block's convolution, which may stand behind its padding."""
    last = layer[-1] if isinstance(layer, nn.Sequential) else layer
    return last if isinstance(last, nn.Conv1d | nn.Conv2d) else None


def _pads_before(layer: nn.Module) -> list[int]:
    """Return the zeros before each axis, last axis first."""
    if isinstance(layer, nn.Sequential):
        return list(cast(nn.ConstantPad2d, layer[0]).padding[::2])
    return list(reversed(cast(tuple[int, ...], cast(Conv, layer).padding)))


def _inherit_squeeze(squeeze: Squeeze, model: Squeeze, channels: Channels) -> None:
    first, second = cast(Conv, squeeze.gate[0]), cast(Conv, squeeze.gate[2])
    old_first, old_second = cast(Conv, model.gate[0]), cast(Conv, model.gate[2])
    assert old_first.bias is not None and old_second.bias is not None
    kernel = old_first.weight.double()
    hidden = Channels.resized(kernel.flatten(1).norm(dim=1), first.out_channels)
    first.weight.copy_(channels.read(kernel)[hidden.origins])
    second.weight.copy_(hidden.read(old_second.weight.double())[channels.origins])
    for new, old, made in ((first, old_first, hidden), (second, old_second, channels)):
        assert new.bias is not None
        new.bias.copy_(old.bias[made.origins])  # type: ignore[index]
