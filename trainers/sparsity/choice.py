"""Which weights stay: the best of each kernel, or of all kernels together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Choice = Callable[[Sequence[Tensor], Sequence[float]], list[Tensor]]
"""From the scores of each kernel's weights and the share of it that goes to masks of what stays."""


def within_each(scores: Sequence[Tensor], levels: Sequence[float]) -> list[Tensor]:
    """Keep of each kernel what its level leaves."""
    return [largest(own, kept_count(own.numel(), level)) for own, level in zip(scores, levels, strict=True)]


def across_all(scores: Sequence[Tensor], levels: Sequence[float]) -> list[Tensor]:
    """Keep of all kernels of one level together what it leaves of them, of each at least its best weight."""
    masks = [largest(own, 1) for own in scores]
    for level in set(levels):
        those = [index for index, own in enumerate(levels) if own == level]
        flat = torch.cat([torch.where(masks[index], torch.inf, scores[index]).flatten() for index in those])
        chosen = largest(flat, max(len(those), kept_count(len(flat), level)))
        for index, part in zip(those, chosen.split([scores[index].numel() for index in those]), strict=True):
            masks[index] = part.reshape(scores[index].shape)
    return masks


def kept_count(count: int, level: float) -> int:
    """Return how many of so many are left where a share ``level`` goes: at least one."""
    return max(1, round((1 - level) * count))


def largest(scores: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest elements; of equal ones any."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[scores.flatten().topk(count).indices] = True
    return mask.reshape(scores.shape)
