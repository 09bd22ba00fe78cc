"""Whole blocks, which can go while all around them stays as it is: summands of residual sums, and blocks of chains.

Where a summand was, nothing is added; where a block of a chain was, its input goes on. A block is seen as a channel
that its last layer writes and that all the rest of it is there for, and blocks that are made alike as a width: what
knows channels, as gates and costs do, knows blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..chain import Chain
from .flow import STAYS, Flow
from .passing import convolution_of, passes_on, passing_kernel
from .walk import flow_of
from .widths import BLOCK, CHANNEL, Width, widths_of


@runtime_checkable
class WithOptionalParts(Protocol):
    """A module that can do without some of its parts."""

    def optional_parts(self) -> Mapping[str, Sequence[str]]:
        """Return those that are there, each with the names of its modules."""

    def leave_out(self, part: str) -> None:
        """Go on without a part, and without its modules."""


@dataclass(frozen=True)
class Block:
    """A part of the module ``owner`` of a network."""

    owner: str
    part: str
    layers: tuple[str, ...]
    """Its modules that have parameters."""
    parameters: tuple[str, ...]
    kind: tuple[Any, ...]
    """Equal of blocks that are made alike."""
    passes_on: bool
    """Whether its input goes on in its place; else nothing is added there."""


def blocks_of(network: nn.Module) -> list[Block]:
    """Return all blocks that can go, in the network's order."""
    found = []
    for owner, module in network.named_modules():
        if isinstance(module, WithOptionalParts):
            for part, names in module.optional_parts().items():
                found.append(_block(network, owner, part, names, passes_on=isinstance(module, Chain)))
    return found


def _block(network: nn.Module, owner: str, part: str, names: Sequence[str], *, passes_on: bool) -> Block:
    prefix = f"{owner}." if owner else ""
    modules = {prefix + name: network.get_submodule(prefix + name) for name in names}
    named = [item for name, own in modules.items() for item in own.named_parameters(prefix=name)]
    layers = tuple(name for name, own in modules.items() if next(own.parameters(), None) is not None)
    kind = (*map(type, modules.values()), *(parameter.shape for _, parameter in named))
    return Block(owner, part, layers, tuple(name for name, _ in named), kind, passes_on)


def structure_of(fused: nn.Module, input_shape: Sequence[int], granularity: str = CHANNEL) -> tuple[Flow, list[Width]]:
    """Return the flow of what a granularity takes out of a fused network, and its widths."""
    flow = flow_of(fused, input_shape)
    return _seen_as_channels(fused, flow) if granularity == BLOCK else (flow, widths_of(flow, granularity))


def _seen_as_channels(fused: nn.Module, flow: Flow) -> tuple[Flow, list[Width]]:
    blocks, sizes = blocks_of(fused), {name: parameter.numel() for name, parameter in fused.named_parameters()}
    number_of = {name: number for number, block in enumerate(blocks, start=1) for name in block.parameters}
    layers, block_of_channel, last = [], torch.zeros(flow.count, dtype=torch.long), {}
    uses: dict[int, list[int]] = {}
    for layer in flow.layers:
        number = number_of.get(layer.weight, STAYS)
        block_of_channel[layer.writes] = number
        last[number] = (layer.weight, layer.bias)
        uses.setdefault(number, []).append(layer.places)
        reads, writes = (torch.full_like(channels, number) for channels in (layer.reads, layer.writes))
        layers.append(replace(layer, reads=reads, writes=writes))
    owners = {
        name: {"writes" if name in last[number] else "reads": torch.full((sizes[name],), number)}
        for name, number in number_of.items()
    }
    products = [(block_of_channel[channels], macs) for channels, macs in flow.products]
    # Alike are those that cost the same: made alike, and used at as many places.
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, block in enumerate(blocks, start=1):
        alike.setdefault((block.kind, *uses[number]), []).append(number)
    widths = [Width(torch.tensor(numbers), depth=0.0) for numbers in alike.values()]
    return Flow(layers, owners, products=products, count=len(blocks) + 1), widths


def silent_blocks(fused: nn.Module, flow: Flow) -> Tensor:
    """Return by number, as :func:`structure_of` gives them, whether a block adds only zeros, or passes its input on."""
    silent = torch.ones(flow.count, dtype=torch.bool)
    silent[STAYS] = False
    for name, roles in flow.owners.items():
        if "writes" in roles and bool(fused.get_parameter(name).any()):
            silent[roles["writes"]] = False
    for number, block in enumerate(blocks_of(fused), start=1):
        if block.passes_on:
            silent[number] = all(passes_on(fused.get_submodule(layer)) for layer in block.layers)
    return silent


def passing_kernels(fused: nn.Module) -> dict[str, Tensor]:
    """Return by the name of its weight, for each layer of a block that can be passed by, the kernel that does so."""
    name_of = {id(parameter): name for name, parameter in fused.named_parameters()}
    layers = (fused.get_submodule(layer) for block in blocks_of(fused) if block.passes_on for layer in block.layers)
    return {name_of[id(convolution_of(layer).weight)]: passing_kernel(layer) for layer in layers}


def without_blocks(network: nn.Module, gone: Tensor) -> nn.Module:
    """Return a copy without the blocks that are ``gone``, by number."""
    smaller = copy.deepcopy(network)
    for number, block in enumerate(blocks_of(network), start=1):
        if gone[number]:
            owner = smaller.get_submodule(block.owner)
            assert isinstance(owner, WithOptionalParts)
            owner.leave_out(block.part)
    return smaller


def with_blocks_of(network: nn.Module, weights: Collection[str]) -> nn.Module:
    """Return a copy with those blocks alone whose parameters are among ``weights``: the names in a smaller one."""
    gone = [block.parameters[0] not in weights for block in blocks_of(network)]
    return without_blocks(network, torch.tensor([False, *gone]))
