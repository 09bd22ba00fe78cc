"""What a network costs by which of its channels are there, and which of them to keep within a cost.

``size = sum_j P(z_j) c_j`` (Louizos et al. 2018, arXiv 1712.01312; of coupled structures Xia et al. 2022, arXiv
2204.00408): a weight counts where the channel that it reads and the one that it makes are both there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from .flow import Flow
from .widths import Width, places_of


class Costs:
    """Parameters and multiply-accumulates of a fused network as a function of its channels, width after width."""

    def __init__(self, fused: nn.Module, flow: Flow, widths: Sequence[Width]) -> None:
        self.sizes = [len(width.labels) for width in widths]
        places, stays = places_of(flow, widths), sum(self.sizes)
        terms = [*_of_weights(fused, flow, places, stays), *_of_products(flow, places, stays)]
        pairs = torch.cat([pair for pair, _, _ in terms], dim=1)
        amounts = torch.cat([torch.tensor([each]).expand(pair.shape[1], 2) for pair, *each in terms]).T.double()
        # A channel that is there is there once: z^2 = z.
        pairs[1] = torch.where(pairs[0] == pairs[1], stays, pairs[1])
        (self._first, self._second), which = torch.unique(pairs, dim=1, return_inverse=True)
        self._amounts = amounts.new_zeros(2, len(self._first)).index_add_(1, which, amounts)

    def to(self, device: torch.device) -> Costs:
        """Return the same for factors on another device."""
        moved = copy.copy(self)
        tables = (self._first, self._second, self._amounts)
        moved._first, moved._second, moved._amounts = (table.to(device) for table in tables)
        return moved

    def __call__(self, there: Tensor) -> Tensor:
        """Return parameters and MACs, (2,), of channels that are there (channels,), each with a share in [0, 1]."""
        factors = torch.cat([there.double(), there.new_ones(1, dtype=torch.double)])
        return self._amounts @ (factors[self._first] * factors[self._second])

    def more(self, there: Tensor) -> Tensor:
        """Return by how much each channel makes the network dearer, (2, channels)."""
        factors = torch.cat([there.double(), there.new_ones(1, dtype=torch.double)])
        more = self._amounts.new_zeros(2, len(factors))
        more.index_add_(1, self._first, self._amounts * factors[self._second])
        more.index_add_(1, self._second, self._amounts * factors[self._first])
        return more[:, :-1]

    def even(self, counts: Sequence[int]) -> Tensor:
        """Return the channels (channels,) of a network with the first ``counts`` channels of each width."""
        masks = (torch.arange(size) < count for size, count in zip(self.sizes, counts, strict=True))
        return torch.cat([torch.zeros(0, dtype=torch.bool), *masks]).double()


def _of_weights(fused: nn.Module, flow: Flow, places: Tensor, stays: int) -> Iterator[tuple[Tensor, int, int]]:
    """Yield for each parameter the places of the two channels of each element, (2, elements), and what one costs."""
    uses: dict[str, int] = {}
    for layer in flow.layers:
        uses[layer.weight] = uses.get(layer.weight, 0) + layer.places
    for name, parameter in fused.named_parameters():
        always = torch.full((parameter.numel(),), stays)
        roles = (places[numbers.clamp_min(0)] for numbers in flow.owners.get(name, {}).values())
        yield torch.stack([*roles, always, always][:2]), 1, uses.get(name, 0)


def _of_products(flow: Flow, places: Tensor, stays: int) -> Iterator[tuple[Tensor, int, int]]:
    """Yield the same of products of activations, which have no parameters."""
    for numbers, macs in flow.products:
        own = places[numbers.flatten()]
        yield torch.stack([own, torch.full_like(own, stays)]), 0, macs


def best_within(costs: Costs, scores: Tensor, limit: Tensor) -> Tensor:
    """Return a mask (channels,) of the channels of the highest scores that together cost ``limit`` (2,) at most.

    The best of each width stays in any case; any other whose score is minus infinity in none. Complexity: a logarithm
    of the channels in evaluations of the costs, and one for each channel that still fits in when the one before it
    does not.
    """
    is_best = torch.zeros_like(scores, dtype=torch.bool)
    for start, own in zip(_starts(costs.sizes), scores.split(costs.sizes), strict=True):
        is_best[start + own.argmax()] = True
    order = torch.where(is_best, torch.inf, scores).argsort(descending=True, stable=True)

    def first(count: int) -> Tensor:
        mask = torch.zeros_like(is_best)
        mask[order[:count]] = True
        return mask

    low, high = len(costs.sizes), int(scores.isfinite().sum())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bool((costs(first(middle)) <= limit).all()) else (low, middle - 1)
    mask = first(low)
    while True:
        fits = (costs.more(mask) <= (limit - costs(mask))[:, None]).all(0) & ~mask & scores.isfinite()
        if not bool(fits.any()):
            return mask
        mask[torch.where(fits, scores, -torch.inf).argmax()] = True


def _starts(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:index]) for index in range(len(sizes))]
