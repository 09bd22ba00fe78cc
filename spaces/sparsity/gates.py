"""A factor for each channel of a network in training: what is zero can be sliced away at the end."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..branches import Fusable
from ..fusion import fused_copy
from .blocks import blocks_of, structure_of
from .passing import convolution_of, passing_kernel
from .widths import BLOCK, CHANNEL, Width, places_of


class Gates(nn.Module):
    """The factors of all channels of a network's widths, width after width: here masks, of ones at first."""

    mask: Tensor

    def __init__(self, widths: Sequence[Width]) -> None:
        super().__init__()
        self.sizes = [len(width.labels) for width in widths]
        self.register_buffer("mask", torch.ones(sum(self.sizes)))

    def factors(self) -> Tensor:
        """Return the factor of each channel, (channels,)."""
        return self.mask


class Gated(Fusable):
    """A layer whose outputs are multiplied by the factors of their channels, before training and fusion alike."""

    outputs: Tensor

    def __init__(self, layer: nn.Module, gates: Gates, outputs: Tensor, weights: dict[str, Tensor], axis: int) -> None:
        """``outputs`` are the places of the layer's outputs among the factors, ``weights`` those of each element of the
        fused layer's parameters that makes them; one place beyond the last has the factor 1."""
        super().__init__()
        self.layer, self.gates, self.axis, self._weights = layer, gates, axis, weights
        self.register_buffer("outputs", outputs, persistent=False)

    def _factors(self) -> Tensor:
        factors = self.gates.factors()
        return torch.cat([factors, factors.new_ones(1)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        by_axis = [1] * y.dim()
        by_axis[self.axis] = -1
        return y * self._factors()[self.outputs].reshape(by_axis)

    @torch.no_grad()
    def fused(self) -> nn.Module:
        """Return the layer's own fused form, the factors in its weights."""
        fused = self.layer.fused() if isinstance(self.layer, Fusable) else copy.deepcopy(self.layer)
        factors = self._factors()
        for name, places in self._weights.items():
            parameter = fused.get_parameter(name)
            parameter.data = (parameter.data * factors[places.to(factors.device)].to(parameter.dtype)).contiguous()
        return fused


class PassedBy(Fusable):
    """``z f(x) + (1 - z) x`` of a convolution f that keeps the shape of its input, with the factor z of its block."""

    def __init__(self, layer: nn.Module, gates: Gates, place: int) -> None:
        super().__init__()
        self.layer, self.gates, self._place = layer, gates, place

    def forward(self, x: Tensor) -> Tensor:
        # Exact at both ends.
        return torch.lerp(x, self.layer(x), self.gates.factors()[self._place].to(x.dtype))

    @torch.no_grad()
    def fused(self) -> nn.Module:
        """Return the layer's own fused form, its kernel drawn to the identity and its bias to zero."""
        fused = fused_copy(self.layer)
        convolution, factor = convolution_of(fused), self.gates.factors()[self._place]
        factor = factor.to(convolution.weight)
        convolution.weight.data = torch.lerp(passing_kernel(fused), convolution.weight.data, factor)
        if convolution.bias is not None:
            convolution.bias.data = convolution.bias.data * factor
        return fused


def gate(model: nn.Module, input_shape: Sequence[int], gates: Gates, granularity: str = CHANNEL) -> None:
    """Put ``gates``, of the widths of a granularity, behind each layer of a model whose channels can go, in place.

    Those of blocks that can be passed by go between the layers and what they read.
    """
    skeleton = fused_skeleton_of(model)
    flow, widths = structure_of(skeleton, input_shape, granularity)
    places = places_of(flow, widths)
    passed_by = _gate_blocks(model, skeleton, gates, places) if granularity == BLOCK else set()
    parameters = dict(skeleton.named_parameters())
    sites: dict[str, dict[str, Tensor]] = {}
    for name, roles in flow.owners.items():
        numbers = roles.get("writes", roles.get("tied"))
        if numbers is not None and name in parameters and name not in passed_by:
            site = site_of(model, name)
            own = places[numbers.clamp_min(0)].reshape(parameters[name].shape)
            sites.setdefault(site, {})[name[len(site) + 1 :]] = own
    linear = {site_of(model, layer.weight) for layer in flow.layers if parameters[layer.weight].dim() == 2}
    for site, weights in sites.items():
        module = model.get_submodule(site)
        is_gateable = isinstance(module, Fusable | nn.Conv1d | nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d)
        outputs = _by_output(next(iter(weights.values())))
        if is_gateable and bool((outputs < sum(gates.sizes)).any()):
            gated = Gated(module, gates, outputs, weights, axis=-1 if site in linear else 1)
            replace_submodule(model, site, gated.train(module.training))


def _gate_blocks(model: nn.Module, skeleton: nn.Module, gates: Gates, places: Tensor) -> set[str]:
    """Put gates around the layers of each block that can be passed by; return the names of its parameters."""
    done: set[str] = set()
    for number, block in enumerate(blocks_of(skeleton), start=1):
        if block.passes_on:
            for name in block.layers:
                layer = model.get_submodule(name)
                replace_submodule(model, name, PassedBy(layer, gates, int(places[number])).train(layer.training))
            done.update(block.parameters)
    return done


def _by_output(places: Tensor) -> Tensor:
    """Return the place of each output, from those of a weight's elements: along its first axis that is not of one."""
    axis = 1 if places.dim() > 2 and places.shape[0] == 1 < places.shape[1] else 0
    return places.movedim(axis, 0).reshape(places.shape[axis], -1)[:, 0]


def site_of(model: nn.Module, name: str) -> str:
    """Return the name of the module in training that makes a parameter of the fused model."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        prefix = ".".join(parts[:depth])
        if isinstance(model.get_submodule(prefix), Fusable):
            return prefix
    return ".".join(parts[:-1])


def replace_submodule(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put another module in the place of one, everywhere that it is used."""
    old = model.get_submodule(name)
    for module in list(model.modules()):
        for child_name, child in module._modules.items():
            if child is old and module is not new:
                module._modules[child_name] = new


def fused_skeleton_of(model: nn.Module) -> nn.Module:
    """Return what a model in training becomes by fusion, without weights."""
    return fused_copy(copy.deepcopy(model).eval()).to("meta")
