"""Which examples train together."""

from __future__ import annotations

import torch
from torch import Tensor

POOLED_BATCHES = 16
"""Examples of like length are put together among those of so many batches, drawn by chance."""


def random_batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return the indices of each batch of an epoch, on the generator's device; a last batch of one is left out.

    One example has no batch statistics.
    """
    return _split(torch.randperm(count, generator=generator, device=generator.device), size)


def batches_of_like_length(frames: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Return the same for examples of ``frames`` (count,), such that little of a batch is padding."""
    order = torch.randperm(len(frames), generator=generator, device=generator.device)
    pools = order.split(POOLED_BATCHES * size)
    batches = _split(torch.cat([pool[frames[pool].argsort(stable=True)] for pool in pools]), size)
    shuffled = torch.randperm(len(batches), generator=generator, device=generator.device)
    return [batches[place] for place in shuffled.tolist()]


def _split(order: Tensor, size: int) -> list[Tensor]:
    return [indices for indices in order.split(size) if len(indices) > 1]
