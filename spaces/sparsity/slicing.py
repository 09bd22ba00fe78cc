"""Channels taken out of a fused network for real: smaller kernels, and nothing else computed.

Why not `torch-pruning` (1.6): its graph comes from a backward pass, so that it knows no skeleton on ``meta``, and it
drops the constants that removed channels still give to their readers; a figure before training and an equal answer
after it hang on both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..exits.network import compare_all_answers
from ..fusion import FusionReport
from .costs import Costs
from .flow import STAYS, Flow
from .space import Sparsity
from .walk import flow_of
from .widths import CHANNEL, Width, kept_at, widths_of


@runtime_checkable
class Sliceable(Protocol):
    """A module that keeps sizes of its own, such as those of a split: it is told when its layers have been sliced."""

    def fit_to_layers(self) -> None:
        """Take over the sizes of the layers inside."""


@dataclass(frozen=True)
class SlicingReport:
    """What was taken out, and what could not be."""

    kept: tuple[int, ...]
    """Channels of each width; those that are tied count as one."""
    removed: int
    channels: int
    """That were there."""
    unknown_operators: tuple[str, ...]
    """Operators that the slicer does not know; channels that go into them were left whole."""


def slice_zeros(
    fused: nn.Module, input_shape: Sequence[int], kept: Sequence[int] | None = None, granularity: str = CHANNEL
) -> tuple[nn.Module, SlicingReport]:
    """Return a copy of a fused network in eval mode without the channels whose kernels are all zero, and a report.

    It computes the same: what such a channel still gives, its bias after activations, goes into the biases of the
    layers that read it; where padding makes that inexact the channel stays. At least ``kept`` channels of each width
    stay, one each by default.
    """
    flow = flow_of(fused, input_shape, with_values=True)
    labels = flow.labels()
    widths = widths_of(flow_of(fused, input_shape), granularity)
    weights = {**dict(fused.named_parameters()), **dict(fused.named_buffers())}
    silent = _silent(flow, labels, weights)
    removed = torch.zeros(flow.count, dtype=torch.bool)
    for index, width in enumerate(widths):
        least = 1 if kept is None else kept[index]
        candidates = width.labels[silent[width.labels]]
        removed[candidates[: max(0, len(width.labels) - least)]] = True
    sliced = copy.deepcopy(fused)
    _take_into_biases(sliced, flow, labels, removed)
    _cut(sliced, flow, removed[labels])
    return sliced, _report(flow, widths, removed)


def sliced_to_levels(
    fused: nn.Module, input_shape: Sequence[int], levels: Sequence[float], granularity: str = CHANNEL
) -> tuple[nn.Module, SlicingReport]:
    """Return a copy with as many channels as ``levels`` of sparsity leave, whichever they are: for skeletons."""
    counts = kept_at(widths_of(flow_of(fused, input_shape), granularity), levels)
    return sliced_to_counts(fused, input_shape, counts, granularity)


def sliced_to_counts(
    fused: nn.Module, input_shape: Sequence[int], counts: Sequence[int], granularity: str = CHANNEL
) -> tuple[nn.Module, SlicingReport]:
    """Return a copy with so many channels of each width, whichever they are."""
    flow = flow_of(fused, input_shape)
    widths = widths_of(flow, granularity)
    removed = torch.zeros(flow.count, dtype=torch.bool)
    for width, count in zip(widths, counts, strict=True):
        removed[width.labels[count:]] = True
    sliced = copy.deepcopy(fused)
    _cut(sliced, flow, removed[flow.labels()])
    return sliced, _report(flow, widths, removed)


def slice_to_shipped(
    model: nn.Module, fused: nn.Module, samples: Tensor, sparsity: Sparsity
) -> tuple[nn.Module, FusionReport, tuple[int, ...]]:
    """Return the fused form of a model, which was trained to be so sparse, without the channels that are zero in it;
    how it compares with the model; and how many channels are left of each width.

    ``samples`` are (batch, *input_shape). Raises RuntimeError where fewer can go than the levels say.
    """
    input_shape = tuple(samples.shape[1:])
    flow = flow_of(fused, input_shape)
    widths = widths_of(flow, sparsity.granularity)
    wanted = kept_at(widths, sparsity.levels)
    sliced, slicing = slice_zeros(fused, input_shape, None if sparsity.is_allocated else wanted, sparsity.granularity)
    costs = Costs(fused, flow, widths)
    found, limit = costs(costs.even(slicing.kept)), costs(costs.even(wanted))
    if bool((found > limit).any()):
        told = [f"{int(value):,} parameters and {int(macs):,} MACs" for value, macs in (found.tolist(), limit.tolist())]
        raise RuntimeError(f"{told[0]} are left, and at most {told[1]} would ship")
    return sliced, compare_all_answers(model, sliced, samples), slicing.kept


def widths_left(fused: nn.Module, input_shape: Sequence[int]) -> list[int]:
    """Return how many channels each width of a network has: what :func:`sliced_to_counts` makes it of a larger one."""
    return [len(width.labels) for width in widths_of(flow_of(fused, input_shape))]


def _report(flow: Flow, widths: Sequence[Width], removed: Tensor) -> SlicingReport:
    kept = tuple(int((~removed[width.labels]).sum()) for width in widths)
    channels = sum(len(width.labels) for width in widths)
    return SlicingReport(kept, channels - sum(kept), channels, tuple(sorted(flow.unknown)))


def _silent(flow: Flow, labels: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Return by label whether no layer computes a channel from anything, and all its readers can do without."""
    silent = torch.ones(flow.count, dtype=torch.bool)
    silent[STAYS] = False
    for layer in flow.layers:
        kernel = weights[layer.weight].detach().cpu().flatten()
        if not layer.is_depthwise:
            owners = flow.owners[layer.weight]["writes"]
            silent[labels[owners[kernel != 0]]] = False
        silent[labels[layer.reads[layer.gone.isnan()]]] = False
        if layer.bias is None or layer.groups > 1:
            silent[labels[layer.reads[layer.gone != 0]]] = False
    return silent


def _take_into_biases(sliced: nn.Module, flow: Flow, labels: Tensor, removed: Tensor) -> None:
    """Add what removed channels still give to the biases of their readers."""
    weights = dict(sliced.named_parameters())
    for layer in flow.layers:
        constant = torch.where(removed[labels[layer.reads]], layer.gone, 0.0)
        if layer.bias is None or layer.groups > 1 or not constant.any():
            continue
        kernel, bias = weights[layer.weight], weights[layer.bias]
        taps = kernel.detach().double().flatten(2).sum(2) if kernel.dim() > 2 else kernel.detach().double()
        bias.data = (bias.detach().double() + taps @ constant.to(taps.device)).to(bias.dtype)


def _cut(sliced: nn.Module, flow: Flow, gone: Tensor) -> None:
    """Shorten every weight of a network by its channels that are ``gone``, by number."""
    for name, roles in flow.owners.items():
        owner, _, attribute = name.rpartition(".")
        module = sliced.get_submodule(owner)
        value = getattr(module, attribute)
        alive = torch.ones(value.numel(), dtype=torch.bool)
        for numbers in roles.values():
            alive &= ~gone[numbers.clamp_min(0)]
        shorter = _shortened(value.detach(), alive.reshape(value.shape))
        if shorter.shape != value.shape:
            is_parameter = attribute in module._parameters
            setattr(module, attribute, nn.Parameter(shorter, value.requires_grad) if is_parameter else shorter)
    depthwise = {layer.weight.rpartition(".")[0] for layer in flow.layers if layer.is_depthwise}
    for name, module in sliced.named_modules():
        _fit(module, name in depthwise)
    for module in sliced.modules():
        if isinstance(module, Sliceable):
            module.fit_to_layers()


def _shortened(value: Tensor, alive: Tensor) -> Tensor:
    for axis in range(value.dim()):
        stays = alive.movedim(axis, 0).reshape(alive.shape[axis], -1).any(1)
        if not bool(stays.all()):
            value = value.index_select(axis, stays.nonzero().flatten().to(value.device))
            alive = alive.index_select(axis, stays.nonzero().flatten())
    assert bool(alive.all()), "what is removed is no set of channels"
    return value.contiguous()


def _fit(module: nn.Module, is_depthwise: bool) -> None:
    """Let a layer say of itself what its weights are."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        written, per_group = module.weight.shape[:2]
        if is_depthwise:
            module.groups = module.groups * written // module.out_channels
        module.out_channels, module.in_channels = written, per_group * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.num_features = len(module.weight)
