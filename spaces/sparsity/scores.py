"""How much each channel of a fused network weighs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import passing_kernels, structure_of
from .flow import Flow
from .widths import BLOCK, CHANNEL, Width, channels_of


@torch.no_grad()
def channel_norms(fused: nn.Module, input_shape: Sequence[int], granularity: str = CHANNEL) -> Tensor:
    """Return for the channels of all widths of a granularity, one width after the other, how much they weigh.

    That is the size of the weights that make or read them. Squares are summed over all kernels that a channel is in,
    each relative to that kernel's mean, so that no kernel counts for more because its weights are larger. Those of a
    block are relative to the mean over blocks that are made alike; one of a chain, which is passed by where it goes,
    weighs as much as its kernels differ from the identity.
    """
    flow, widths = structure_of(fused, input_shape, granularity)
    if granularity == BLOCK:
        return _block_norms(fused, flow, widths)
    labels, weights = flow.labels(), dict(fused.named_parameters())
    norms = torch.zeros(flow.count, dtype=torch.double)
    for layer in flow.layers:
        squares = weights[layer.weight].detach().cpu().double().flatten().square()
        for role, numbers in flow.owners[layer.weight].items():
            if layer.is_depthwise and role == "reads":
                continue
            sums = torch.zeros(flow.count, dtype=torch.double).index_add_(0, labels[numbers], squares)
            present = torch.unique(labels[numbers])
            norms += sums / sums[present].mean().clamp_min(1e-30)
    return norms[channels_of(widths)].float()


def _block_norms(fused: nn.Module, flow: Flow, widths: Sequence[Width]) -> Tensor:
    squares: dict[int, list[float]] = {}
    without = passing_kernels(fused)
    for layer in flow.layers:
        own = fused.get_parameter(layer.weight).detach().double()
        own = own - without[layer.weight] if layer.weight in without else own
        squares.setdefault(int(layer.writes[0]), []).append(float(own.square().sum()))
    norms = [torch.zeros(0)]
    for width in widths:
        by_layer = torch.tensor([squares[number] for number in width.labels.tolist()])
        norms.append((by_layer / by_layer.mean(0).clamp_min(1e-30)).mean(1))
    return torch.cat(norms)
