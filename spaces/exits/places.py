"""Where a chain of layers can answer early: in front of a block, once something has been convolved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..branches import BranchedConv
from ..errors import UserError


@dataclass(frozen=True)
class Place:
    """Between two layers of a chain: behind the first ``index`` of them, where maps are of ``shape``."""

    index: int
    shape: tuple[int, int, int]
    """Channels, height and width."""


def chain_of(network: nn.Module, name: str) -> list[nn.Module]:
    """Return the layers that a network of the space ``name`` runs one after the other.

    Raises :class:`UserError` for a network that is no chain.
    """
    if not isinstance(network, nn.Sequential):
        raise UserError(
            f"space.exits: the networks of {name} are no chain of layers (torch.nn.Sequential), so that they have no "
            "place for an exit (take the key out, or name another space)"
        )
    return list(_flat(network))


def _flat(layers: nn.Sequential) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _flat(layer)
        else:
            yield layer


@torch.no_grad()
def places_of(layers: Sequence[nn.Module], input_shape: Sequence[int]) -> tuple[Place, ...]:
    """Return each place of a chain whose inputs are (batch, *input_shape), in order.

    A block begins with a layer that reads neighbours, a convolution wider than one or a module that has one inside; the
    first of them is the stem, before which there is nothing to answer from.
    """
    weight = next((parameter for layer in layers for parameter in layer.parameters()), torch.zeros(()))
    x = torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device)
    places: list[Place] = []
    is_behind_stem = False
    for index, layer in enumerate(layers):
        if _reads_neighbours(layer):
            if is_behind_stem and x.dim() == 4:
                places.append(Place(index, (x.shape[1], x.shape[2], x.shape[3])))
            is_behind_stem = True
        was_training = layer.training
        x = layer.eval()(x)
        layer.train(was_training)
    return tuple(places)


def _reads_neighbours(layer: nn.Module) -> bool:
    if isinstance(layer, BranchedConv):
        return max(layer.shape.kernel_size) > 1
    convolutions = (module for module in layer.modules() if isinstance(module, nn.Conv1d | nn.Conv2d))
    return any(max(convolution.kernel_size) > 1 for convolution in convolutions)
