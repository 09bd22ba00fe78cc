"""How much each channel of a fused network weighs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .walk import flow_of
from .widths import CHANNEL, channels_of, widths_of


@torch.no_grad()
def channel_norms(fused: nn.Module, input_shape: Sequence[int], granularity: str = CHANNEL) -> Tensor:
    """Return for the channels of all widths of a granularity, one width after the other, how much they weigh.

    That is the size of the weights that make or read them. Squares are summed over all kernels that a channel is in,
    each relative to that kernel's mean, so that no kernel counts for more because its weights are larger.
    """
    flow = flow_of(fused, input_shape)
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
    return norms[channels_of(widths_of(flow, granularity))].float()
